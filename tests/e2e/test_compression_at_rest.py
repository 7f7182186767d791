"""`compression: lz4|zstd`: smaller files that every reader still understands."""

import pyarrow as pa
import pytest
from harness.documents import Documents
from harness.flight import native

TEXT = b"all work and no play " * 50_000


def table():
    return pa.table({"n": [i % 10 for i in range(100_000)], "s": ["same"] * 100_000})


@pytest.fixture(params=["lz4", "zstd"])
def server(server_factory, request):
    return server_factory("fs", args=("--compression", request.param))


def test_files_are_smaller_and_arrow_reads_them(server, app):
    with Documents(server.endpoint) as client:
        client.put(f"{app}/s/o", TEXT)
        batch = native(table())
        client.put_stream(f"{app}/s/t", batch.schema, batch.to_batches())
    folder = server.storage_dir / app / "s"
    assert (folder / "o.arrow").stat().st_size < len(TEXT) / 10
    assert pa.ipc.open_file(folder / "o.arrow").read_all()["data"][0].as_py() == TEXT
    assert (folder / "t.arrow").stat().st_size < table().nbytes / 3
    read = pa.ipc.open_file(folder / "t.arrow").read_all()
    assert read.replace_schema_metadata(None).equals(table())


def test_objects_come_back_from_the_disk(server, app):
    with Documents(server.endpoint) as client:
        client.put(f"{app}/s/o", TEXT)
        client.patch(f"{app}/s/o", TEXT[:500_000])
        client.put(f"{app}/s/small", b"small")
        batch = native(table())
        client.put_stream(f"{app}/s/t", batch.schema, batch.to_batches())
    for how in (server.kill, server.stop):
        how()
        server.start()
        with Documents(server.endpoint) as client:
            rows = client.get(f"{app}/s/o").rows
            assert rows == [(1, "base", TEXT), (2, "patch", TEXT[:500_000])]
            assert client.get(f"{app}/s/small").value == b"small"
            read = client.get(f"{app}/s/t").table.replace_schema_metadata(None)
            assert read.equals(table())


def test_what_does_not_shrink_is_as_without_compression(server, app, rng):
    noise = rng.randbytes(1 << 20)
    with Documents(server.endpoint) as client:
        client.put(f"{app}/s/noise", noise)
    path = server.storage_dir / app / "s/noise.arrow"
    assert path.stat().st_size > len(noise)
    assert pa.ipc.open_file(path).read_all()["data"][0].as_py() == noise


@pytest.mark.memory
def test_a_bomb_in_an_objects_file_is_corrupt_and_harmless(server, app):
    with Documents(server.endpoint) as client:
        client.put(f"{app}/s/o", TEXT)
        client.put(f"{app}/s/bomb", bytes(512 << 20))
    folder = server.storage_dir / app / "s"
    bomb = (folder / "bomb.arrow").read_bytes()
    assert len(bomb) < 16 << 20
    server.stop()
    (folder / "o.arrow").write_bytes(bomb)
    server.start()
    with (
        Documents(server.endpoint) as client,
        pytest.raises(pa.ArrowException, match="claim to hold more"),
    ):
        client.get(f"{app}/s/o")
    assert server.peak_bytes() < 400 << 20
