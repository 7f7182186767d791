"""What several clients did and were told: operations with the times of call and answer.

Times are of CLOCK_MONOTONIC, which all processes of a machine share. A history is checked by
`harness.linearizability`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

Rows = tuple[tuple[int, str], ...]
"""(version, digest) of base and patches; empty: nothing is there."""


@dataclass(frozen=True)
class Operation:
    """One call of one client and its answer.

    Attributes
    ----------
    kind : str
        ``put``, ``patch``, ``delete``, or ``read``. A refusal tells what is there, so it is a
        read: an `if_version` that did not match, a patch of nothing.
    key : str
    called, answered : int
        Nanoseconds. Of an operation without an answer, `answered` is when its server was gone.
    data : str
        Digest of what a put or patch wrote; no two writes have the same.
    version : int or None
        What a write was given, or a read saw; 0: nothing was there. None: of an unanswered write,
        or of a delete, which gives none out.
    rows : Rows or None
        What a read saw of the contents; None: it did not look (a stat, a conflict).
    if_version : int or None
        The condition of a write that was applied.
    deleted : bool or None
        Whether the delete found something; None: it was not answered.
    unanswered : bool
        It may have happened or not, before `answered`.
    client : str
        For people.
    """

    kind: str
    key: str
    called: int
    answered: int
    data: str = ""
    version: Optional[int] = None
    rows: Optional[Rows] = None
    if_version: Optional[int] = None
    deleted: Optional[bool] = None
    unanswered: bool = False
    client: str = ""

    def __str__(self) -> str:
        what = {
            "read": f"read v{self.version}",
            "delete": f"delete ({'found' if self.deleted else 'nothing there'})",
        }.get(self.kind, f"{self.kind} {self.data[:6]} -> v{self.version}")
        if self.kind == "read" and self.rows is not None:
            what += " [" + " ".join(f"{v}:{d[:6]}" for v, d in self.rows) + "]"
        if self.if_version is not None:
            what += f" if v{self.if_version}"
        if self.unanswered:
            what = f"{self.kind} {self.data[:6]} -> ?"
        milliseconds = f"{self.called / 1e6:.3f}..{self.answered / 1e6:.3f}"
        return f"{milliseconds} {self.client or '-'}: {what}"


def save(path: Path, operations: Iterable[Operation]) -> None:
    """One JSON document per line."""
    with open(path, "w") as file:
        for operation in operations:
            file.write(json.dumps(asdict(operation)) + "\n")


def load(paths: Iterable[Path]) -> list[Operation]:
    """The operations of all files."""
    operations = []
    for path in paths:
        for line in path.read_text().splitlines():
            fields = json.loads(line)
            if fields["rows"] is not None:
                fields["rows"] = tuple((version, data) for version, data in fields["rows"])
            operations.append(Operation(**fields))
    return operations
