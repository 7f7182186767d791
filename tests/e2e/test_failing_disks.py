"""Disks that fail, turn read-only, fill up or hang while the server runs, and come back.

Goal: writes end in typed errors, reads go on, and writes return without a restart.
Method: real faults of a small mounted ext4 where the machine allows it; a library between the
server and the kernel for those that no file system can produce and take back (faulty_disk.c).
"""

import contextlib
import errno
import os
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pyarrow as pa
import pytest
from harness.documents import Documents
from harness.errors import refused, tag_of
from harness.faulty_disk import NAMES, SYNCS, WRITES, FaultyDisk
from harness.flight import OPAQUE_SCHEMA, opaque_batch
from harness.load import read_state
from harness.oracle import Pending, Record, content, digest
from harness.wait import until

REFUSED = "writes are refused"
ACCEPTED = "writes are accepted again"
SMALL, LARGE = 100, 1 << 20


@pytest.fixture
def disk(tmp_path):
    disk = FaultyDisk(tmp_path)
    yield disk
    disk.heal()


@pytest.fixture
def start(disk, server_factory):
    return lambda *args: server_factory(f"fs://{disk.storage}", args=args, env=disk.env)


@pytest.fixture
def ext4(tmp_path):
    """A file system of 64 MiB on a device of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    for command in (["mkfs.ext4", "-q", image], ["mount", "-o", "loop", image, folder]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"cannot mount a file system: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def put_when_back(client, key, data, seconds=20):
    """The first write that succeeds; refusals until then are typed."""

    def attempt():
        try:
            return client.put(key, data).version
        except pa.ArrowException as error:
            tag_of(str(error))
            return None

    return until(attempt, f"writes of {key} succeed", seconds)


BREAKAGES = {
    "read-only": (lambda disk: disk.read_only(), "read_only"),
    "failing": (lambda disk: disk.fail(), "io"),
    "full": (lambda disk: disk.fail(errno.ENOSPC, WRITES | NAMES), "exhausted"),
    "quota": (lambda disk: disk.fail(errno.EDQUOT, WRITES | NAMES), "exhausted"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_writes_are_refused_reads_go_on_and_writes_return(disk, start, breakage):
    break_it, code = BREAKAGES[breakage]
    server = start()
    with Documents(server.endpoint) as client:
        for size in (SMALL, LARGE):
            client.put(f"a/s/{size}", b"1" * size)
        break_it(disk)
        for _ in range(5):
            for size in (SMALL, LARGE):
                with refused(code) as refusal:
                    client.put(f"a/s/{size}", b"2" * size)
                assert refusal.values["outcome"] == "not_applied"
                assert client.get(f"a/s/{size}").value == b"1" * size
            with refused(code):
                client.delete("a/s/100")
            assert len(client.keys("a/s/")) == 2
        disk.heal()
        for size in (SMALL, LARGE):
            assert put_when_back(client, f"a/s/{size}", b"3" * size) == 2
            assert client.get(f"a/s/{size}").value == b"3" * size
    assert server.log().count(REFUSED) == 1
    assert server.log().count(ACCEPTED) == 1
    server.kill()
    server.start()
    with Documents(server.endpoint) as client:
        for size in (SMALL, LARGE):
            assert client.get(f"a/s/{size}").value == b"3" * size


def readiness(server):
    """Status and text of /readyz."""
    try:
        with urllib.request.urlopen(f"{server.http}/readyz") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_disk_that_is_back_is_noticed_without_a_write(disk, start):
    server = start("--http-endpoint", "http://127.0.0.1:0")
    with Documents(server.endpoint) as client:
        client.put("a/s/o", b"1")
        assert readiness(server) == (200, "ready\n")
        disk.fail()
        with refused("io"):
            client.put("a/s/o", b"2")
        status, why = readiness(server)
        assert status == 503
        assert "Input/output error" in why
        disk.heal()
        until(lambda: readiness(server)[0] == 200, "it is ready again", 10)
        assert ACCEPTED in server.log()
        assert client.put("a/s/o", b"3").version == 2


def test_objects_that_are_not_in_memory_are_read_from_a_disk_that_refuses_writes(disk, start):
    server = start()
    with Documents(server.endpoint) as client:
        for size in (SMALL, LARGE):
            client.put(f"a/s/{size}", b"1" * size)
    server.stop()
    server.start()
    with Documents(server.endpoint) as client:
        disk.read_only()
        with refused("read_only"):
            client.put("a/s/other", b"2")
        for size in (SMALL, LARGE):
            assert client.get(f"a/s/{size}").value == b"1" * size


@pytest.mark.parametrize("calls", [WRITES, SYNCS, WRITES | NAMES | SYNCS])
def test_a_disk_that_hangs_holds_up_no_reader(disk, start, calls):
    server = start("--sync", "always")
    with Documents(server.endpoint) as client:
        for size in (SMALL, LARGE):
            client.put(f"a/s/{size}", b"1" * size)
            client.put(f"a/s/cold-{size}", b"1" * size)
    server.stop()
    server.start()
    with Documents(server.endpoint) as client:
        for size in (SMALL, LARGE):
            client.get(f"a/s/{size}")
        disk.hang(calls)
        answered = []

        def write(size):
            with Documents(server.endpoint) as writer:
                answered.append(writer.put(f"a/s/{size}", b"2" * size).version)

        writers = [threading.Thread(target=write, args=(size,)) for size in (SMALL, LARGE)]
        for writer in writers:
            writer.start()
        # Resident ones, those of the very keys that are being written, and cold ones.
        end = time.monotonic() + 1
        while time.monotonic() < end:
            for size in (SMALL, LARGE):
                assert client.get(f"a/s/{size}").value == b"1" * size
                assert client.get(f"a/s/cold-{size}").value == b"1" * size
            assert client.stat("a/s/none") == {"found": False}
            assert len(client.keys("a/s/")) == 4
        assert answered == []
        disk.heal()
        for writer in writers:
            writer.join(30)
        assert answered == [2, 2]
        for size in (SMALL, LARGE):
            assert client.get(f"a/s/{size}").value == b"2" * size
    assert REFUSED not in server.log()


@pytest.mark.parametrize("sync", ["never", "always"])
def test_nothing_is_lost_and_no_version_used_twice_over_many_faults(disk, start, rng, sync):
    server = start("--sync", sync)
    records = {f"kill/s/{i}": Record() for i in range(6)}
    acknowledged = refusals = restarts = 0
    with contextlib.ExitStack() as clients:
        client = clients.enter_context(Documents(server.endpoint))
        for step in range(400):
            if rng.random() < 0.05:
                calls = rng.choice([WRITES, NAMES, SYNCS, WRITES | NAMES | SYNCS])
                disk.fail(rng.choice([errno.EIO, errno.ENOSPC, errno.EROFS]), calls)
            elif rng.random() < 0.15:
                disk.heal()
            key = rng.choice(list(records))
            record = records[key]
            if record.pending:  # Only a start on a healthy disk tells how that ended.
                disk.heal()
                server.restart()
                restarts += 1
                client = clients.enter_context(Documents(server.endpoint))
                for each, its in records.items():
                    problem = its.check(read_state(client, each))
                    assert not problem, f"step {step}, {each}: {problem}"
            data = content(f"{step}", rng.choice([SMALL, 80_000]))
            try:
                version = client.put(key, data).version
            except pa.ArrowException as error:
                refusals += 1
                if tag_of(str(error))[1]["outcome"] == "unknown":
                    record.pending = Pending("put", digest(data))
                continue
            record.acknowledged("put", version, digest(data))
            acknowledged += 1
        disk.heal()
        put_when_back(client, "other/s/o", b"x")
        server.kill()
        server.start()
    with Documents(server.endpoint) as client:
        for key, record in records.items():
            assert record.check(read_state(client, key)) == "", key
    assert acknowledged > 50
    assert refusals > 10
    # A line when it begins and a line when it ends, however many writes were refused.
    begun, ended = server.log().count(REFUSED), server.log().count(ACCEPTED)
    assert ended <= begun <= ended + restarts + 1
    assert begun < refusals


def test_ext4_that_gave_up_still_serves_reads(ext4, server_factory):
    """As after an error in its metadata (`errors=remount-ro`). Only a new mount heals it."""
    server = server_factory(f"fs://{ext4}/store")
    with Documents(server.endpoint) as client:
        for size in (SMALL, LARGE):
            client.put(f"a/s/{size}", b"1" * size)
        subprocess.run(["mount", "-o", "remount,abort", ext4], check=True)
        for size in (SMALL, LARGE):
            with refused("read_only") as refusal:
                client.put(f"a/s/{size}", b"2" * size)
            assert refusal.values["outcome"] == "not_applied"
            assert client.get(f"a/s/{size}").value == b"1" * size
    assert server.log().count(REFUSED) == 1


def test_a_full_ext4(ext4, server_factory):
    server = server_factory(f"fs://{ext4}/store")
    with Documents(server.endpoint) as client:
        client.put("a/s/small", b"1" * SMALL)
        client.put("a/s/large", b"1" * LARGE)
        filler = ext4 / "filler"
        with open(filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(ext4).free - (1 << 20))
        with refused("exhausted"):
            client.put_stream("a/s/large", OPAQUE_SCHEMA, [opaque_batch(bytes(8 << 20))])
        with refused("exhausted"):
            for _ in range(2000):
                client.put("a/s/small", b"2" * 60_000)
        version = client.stat("a/s/small")["version"]
        assert client.get("a/s/large").value == b"1" * LARGE
        filler.unlink()
        assert put_when_back(client, "a/s/small", b"3") == version + 1
        assert put_when_back(client, "a/s/large", b"3" * LARGE) == 2
