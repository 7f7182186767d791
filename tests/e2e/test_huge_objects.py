"""Objects over 2 GiB: refused clearly to who can't carry them, whole for who can."""

import pyarrow as pa
import pytest
from harness.documents import Documents, reply_facts
from harness.errors import refused
from harness.flight import OPAQUE_SCHEMA, opaque_batch

MEBI = 1 << 20
COUNT = 2100  # A little over 2^31 bytes.


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_object_over_2_gib_comes_in_rows_of_at_most_1_gib(server_factory):
    server = server_factory(args=("--max-memory", "8G", "--limits-in-flight", "8G"))
    blocks = [bytes([i]) * MEBI for i in range(7)]
    with Documents(server.endpoint) as client:
        batches = [opaque_batch(block) for block in blocks]
        stream = (batches[i % 7] for i in range(COUNT))
        assert client.put_stream("app/s/huge", OPAQUE_SCHEMA, stream).version == 1
        client.patch("app/s/huge", b"+")

        with refused("too_large") as refusal:
            client.get("app/s/huge:0")
        assert "2^31" in refusal.message
        assert client.get("app/s/huge:1").rows == [(2, "patch", b"+")]
        assert client.get_items({"key": "app/s/huge"}, inline_max=1 << 40)[0]["reply"] == "stream"

        reply = client.fetch("app/s/huge")
        assert reply_facts(reply)["reply"] == "full"
        done = 0
        for batch in reply.batches:
            for row in range(batch.num_rows):
                if batch["kind"][row].as_py() == "patch":
                    assert batch["data"][row].as_py() == b"+"
                    continue
                assert batch["version"][row].as_py() == 1
                data = batch["data"][row].as_buffer()
                assert data.size <= 1 << 30
                for offset in range(0, data.size, MEBI):
                    expected = pa.py_buffer(blocks[(done + offset) // MEBI % 7])
                    assert data.slice(offset, MEBI).equals(expected)
                done += data.size
        assert done == COUNT * MEBI
