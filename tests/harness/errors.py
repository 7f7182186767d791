"""What a refused call looks like to a Python client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pytest
from pyarrow import flight

EXCEPTIONS = {
    "invalid": pa.ArrowInvalid,
    "wrong_kind": pa.ArrowInvalid,
    "too_large": pa.ArrowInvalid,
    "too_many_patches": pa.ArrowInvalid,
    "not_found": pa.ArrowKeyError,
    "conflict": pa.ArrowException,  # pyarrow has no class of its own for ALREADY_EXISTS.
    "exhausted": flight.FlightUnavailableError,
    "read_only": flight.FlightUnavailableError,
    "unavailable": flight.FlightUnavailableError,
    "corrupt": flight.FlightInternalError,
    "io": flight.FlightInternalError,
    "unknown_outcome": flight.FlightInternalError,
}


class Refusal:
    """The message's tag, once the block has ended: its code and its values."""

    message = ""
    code = ""
    values: dict[str, str]


def tag_of(message: str) -> tuple[str, dict[str, str]]:
    match = re.search(r"\[flame:(\w+)((?: \w+=[^\] ]*)*)\]", message)
    assert match, f"no [flame:...] tag in: {message}"
    return match[1], dict(pair.split("=", 1) for pair in match[2].split())


@contextmanager
def refused(code: str) -> Iterator[Refusal]:
    """The block must end in the exception and the tag of this error code."""
    refusal = Refusal()
    with pytest.raises(EXCEPTIONS[code]) as caught:
        yield refusal
    refusal.message = str(caught.value)
    refusal.code, refusal.values = tag_of(refusal.message)
    assert refusal.code == code, refusal.message
