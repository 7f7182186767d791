"""The session manager has two gRPCs in one process: no name of one may be taken for the other's."""

from __future__ import annotations

import re
import subprocess

from harness.session_manager import BINARY


def _libraries() -> list[str]:
    found = subprocess.run(["ldd", BINARY], capture_output=True, text=True, check=True).stdout
    return re.findall(r"=> (\S+)", found)


def _defined(library) -> set[str]:
    found = subprocess.run(
        ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
    ).stdout
    names = {line.split()[-1].partition("@")[0] for line in found.splitlines()}
    return {name for name in names if "grpc" in name or "absl" in name or "protobuf" in name}


def test_no_name_is_defined_twice():
    libraries = _libraries()
    (flight,) = (path for path in libraries if "libarrow_flight.so" in path)
    (arrow,) = (path for path in libraries if re.search(r"libarrow\.so", path))
    wheel = _defined(flight) | _defined(arrow)
    others = [path for path in libraries if re.search(r"lib(grpc|gpr|absl|protobuf|upb)", path)]
    assert wheel
    assert others
    shared = {path: sorted(wheel & _defined(path)) for path in others}
    assert not {path: names for path, names in shared.items() if names}
    assert not wheel & _defined(BINARY)
