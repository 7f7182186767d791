"""What the tests of real servers share: processes, clients, data, directories of other programs."""
