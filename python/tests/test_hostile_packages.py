"""No archive leaves its directory, exhausts the machine, or passes for whole when it is not."""

from __future__ import annotations

import os
import random
import resource
from dataclasses import replace
from pathlib import Path

import pytest
from flamepy.core.errors import FlameError
from flamepy.runner.errors import PackageError
from flamepy.runner.limits import Limits
from flamepy.runner.packages import unpack
from hostile import corpus, link, tar, zipped

LIMITS = Limits(total_bytes=1 << 30, ratio=100, ratio_from_bytes=4 << 20, members=1000)
CORPUS = list(corpus())


def everything(root: Path) -> dict[str, bytes]:
    """All files below `root` with what they hold, links with where they lead."""
    return {
        str(path.relative_to(root)): os.readlink(path).encode()
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize("hostile", CORPUS, ids=[item.label for item in CORPUS])
def test_it_is_refused_and_nothing_is_left(hostile, tmp_path):
    archive = tmp_path / "a" / hostile.name
    archive.parent.mkdir()
    archive.write_bytes(hostile.make())
    work = tmp_path / "b" / "work"
    work.mkdir(parents=True)
    before = everything(tmp_path)

    with pytest.raises(PackageError, match=hostile.why):
        unpack(archive, work, limits=LIMITS)

    assert everything(tmp_path) == before
    assert list(work.iterdir()) == []


def test_bombs_cost_no_memory(tmp_path):
    """16 MiB of zeros, a header of 64 MiB: refused long before they lie in memory."""
    bombs = [item for item in CORPUS if "bomb" in item.label or "64 MiB" in item.label]
    for number, hostile in enumerate(bombs):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / hostile.name).write_bytes(hostile.make())
    child = os.fork()
    if child == 0:  # A child of its own, to see its peak only.
        code = 1
        try:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for number, hostile in enumerate(bombs):
                try:
                    unpack(tmp_path / str(number) / hostile.name, tmp_path / "w", limits=LIMITS)
                except PackageError:
                    pass
                else:
                    os._exit(2)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            code = 0 if grown < 12 << 10 else 3
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_harmless_archive_with_links_is_taken(tmp_path):
    import tarfile

    data = tar(
        ("p/a.py", b"1", {"mode": 0o6777}),
        ("p/link.py", link("a.py")),
        ("up", link("p/../p/a.py")),
        ("p/hard.py", link("p/a.py", tarfile.LNKTYPE)),
        ("dangling", link("later/there.py")),
        ("loop", link("loop")),
    )
    (tmp_path / "ok.tgz").write_bytes(data)
    root = unpack(tmp_path / "ok.tgz", tmp_path / "w").root
    assert (root / "up").read_bytes() == b"1"
    assert (root / "p/hard.py").read_bytes() == b"1"
    assert oct((root / "p/a.py").stat().st_mode & 0o7777) == "0o755"


def test_the_names_of_members_in_other_scripts_are_kept(tmp_path):
    names = ["Ünïcödé/日本語.py", "العربية.txt", "🦀.rs", "a b/c'd\".txt"]
    (tmp_path / "a.zip").write_bytes(zipped(*((name, b"1") for name in names)))
    (tmp_path / "a.tar").write_bytes(tar(*((name, b"1") for name in names), mode="w"))
    for archive in ("a.zip", "a.tar"):
        root = unpack(tmp_path / archive, tmp_path / "w").root
        assert set(everything(root)) == set(names)


def test_every_damaged_byte_is_noticed_or_harmless(tmp_path):
    """A flipped bit gives an error, or the same files: never others, never a crash."""
    seed = int(os.environ.get("FLAME_SEED") or random.randrange(2**32))
    print(f"FLAME_SEED={seed}")
    rng = random.Random(seed)
    members = [(f"d/{i}.txt", rng.randbytes(rng.randrange(2000))) for i in range(5)]
    originals = {
        "x.tgz": tar(*members),
        "x.zip": zipped(*members),
        "x.txz": tar(*members, mode="w:xz"),
    }
    small = replace(LIMITS, total_bytes=1 << 20, ratio_from_bytes=1 << 20)
    work = tmp_path / "w"
    for name, original in originals.items():
        for round_number in range(60):
            data = bytearray(original)
            for _ in range(rng.choice((1, 1, 3))):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            archive = tmp_path / f"{round_number}-{name}"
            archive.write_bytes(
                data[: rng.randrange(1, len(data))] if round_number % 4 == 0 else data
            )
            try:
                root = unpack(archive, work, limits=small).root
            except FlameError:
                continue
            if name != "x.zip":  # A zip has no checksum over names.
                assert everything(root) == dict(members)
            assert all(path.resolve().is_relative_to(root) for path in root.rglob("*"))
