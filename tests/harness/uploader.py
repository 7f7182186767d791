"""A client to be killed: uploads without end. A program: uploader.py ENDPOINT KEY COMMAND."""

import os
import sys

import pyarrow as pa
from pyarrow import flight

endpoint, target, command = sys.argv[1:]
schema = pa.schema([("version", pa.uint64()), ("data", pa.binary())])
descriptor = (
    flight.FlightDescriptor.for_command(f"{command}{target}")
    if command
    else flight.FlightDescriptor.for_path(target)
)
writer, _ = flight.connect(endpoint).do_put(descriptor, schema)
block = pa.record_batch(
    [pa.array([0], pa.uint64()), pa.array([bytes(1 << 16)], pa.binary())], schema=schema
)
for sent in range(1 << 40):
    writer.write_batch(block)
    if sent == 16:
        print("uploading", flush=True)
    if sent >= 32:
        sys.stdin.read()  # Half an upload, and then nothing more: wait to be killed.
        os._exit(1)
