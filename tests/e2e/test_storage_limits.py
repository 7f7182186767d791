"""Storage that is full, read-only, in use, or no storage at all: clear errors, and no harm done."""

import os
import shutil
import subprocess

import pytest
from harness.documents import Documents
from harness.errors import refused
from harness.flight import OPAQUE_SCHEMA, opaque_batch
from harness.server import run_binary


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 96 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "flame-test", disk],
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk):
    """Take all space; remove the file to give it back."""
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free))
    assert shutil.disk_usage(disk).free == 0
    return filler


def one_line(done):
    assert done.returncode == 1
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_full_disk_is_a_typed_error_reads_go_on_and_writes_return(small_disk, server_factory):
    server = server_factory(f"fs://{small_disk}/store")
    with Documents(server.endpoint) as client:
        client.put("app/s/old", b"old")
        client.put("app/s/large", b"x" * (1 << 20))
        filler = fill(small_disk)

        with refused("exhausted") as refusal:
            client.put_stream("app/s/new", OPAQUE_SCHEMA, [opaque_batch(bytes(8 << 20))])
        assert refusal.values["outcome"] == "not_applied"
        with refused("exhausted"):
            for _ in range(100_000):
                client.put("app/s/small", b"x" * 10_000)
        assert client.get("app/s/old").value == b"old"
        assert client.get("app/s/large").value == b"x" * (1 << 20)
        assert client.stat("app/s/new") == {"found": False}
        before = client.stat("app/s/small")

        filler.unlink()
        assert client.put("app/s/new", b"new").version == 1
        version = before["version"] if before["found"] else 0
        assert client.put("app/s/small", b"again").version > version
        assert client.put("app/s/large", b"y" * (1 << 20)).version == 2
    server.kill()
    server.start()
    with Documents(server.endpoint) as client:
        assert client.get("app/s/new").value == b"new"
        assert client.get("app/s/small").value == b"again"
        assert client.get("app/s/large").value == b"y" * (1 << 20)


def test_a_disk_that_objects_have_filled_is_freed_by_deletes(small_disk, server_factory):
    server = server_factory(f"fs://{small_disk}/store")
    with Documents(server.endpoint) as client:
        acked = []
        with refused("exhausted"):
            for i in range(100):
                client.put_stream(
                    f"app/s/{i}", OPAQUE_SCHEMA, [opaque_batch(bytes([i]) * (4 << 20))]
                )
                acked.append(i)
        assert len(acked) > 5
        for i in acked:
            assert client.get(f"app/s/{i}").value == bytes([i]) * (4 << 20)
        for i in acked[:5]:
            client.delete(f"app/s/{i}")
        ref = client.put_stream("app/s/again", OPAQUE_SCHEMA, [opaque_batch(b"z" * (4 << 20))])
        assert ref.version == 1


def test_a_start_on_a_full_disk_says_so(small_disk, tmp_path):
    fill(small_disk)
    done = run_binary(
        tmp_path, "--storage", f"fs://{small_disk}/store", "--endpoint", "grpc://127.0.0.1:0"
    )
    line = one_line(done)
    assert str(small_disk) in line
    assert "No space left" in line


def test_a_read_only_storage_is_one_clear_line_and_1(small_disk, tmp_path):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    done = run_binary(
        tmp_path, "--storage", f"fs://{small_disk}/store", "--endpoint", "grpc://127.0.0.1:0"
    )
    line = one_line(done)
    assert str(small_disk) in line
    assert "Read-only file system" in line


def test_a_storage_that_cannot_be_made_is_one_clear_line_and_1(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path in (f"{tmp_path}/file", f"{tmp_path}/file/store", "/proc/flame"):
        done = run_binary(tmp_path, "--storage", f"fs://{path}", "--endpoint", "grpc://127.0.0.1:0")
        assert path in one_line(done)


def test_a_second_server_on_the_same_storage_is_one_clear_line_and_1(tmp_path, server_factory):
    server = server_factory("fs")
    arguments = ("--storage", f"fs://{server.storage_dir}", "--endpoint", "grpc://127.0.0.1:0")
    line = one_line(run_binary(tmp_path, *arguments))
    assert str(server.storage_dir) in line
    assert "another server" in line
    with Documents(server.endpoint) as client:
        assert client.put("app/s/o", b"x").version == 1
    server.stop()
    other = server_factory(f"fs://{server.storage_dir}")
    with Documents(other.endpoint) as client:
        assert client.get("app/s/o").value == b"x"


def test_a_killed_server_leaves_the_storage_free(server_factory):
    server = server_factory("fs")
    server.kill()
    assert server_factory(f"fs://{server.storage_dir}").alive()


@pytest.mark.parametrize("form", ["fs://{0}", "file://{0}", "{0}", "fs://{0}/"])
def test_storage_can_be_written_in_every_form(tmp_path, server_factory, form):
    path = tmp_path / "a store"
    server = server_factory(None, args=("--storage", form.format(path)))
    with Documents(server.endpoint) as client:
        client.put("app/s/o", b"x" * 100_000)
    assert (path / "app/s/o.arrow").exists()
    server.stop()
