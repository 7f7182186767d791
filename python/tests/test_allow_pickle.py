"""allow_pickle=False: no reading call runs what a pickle says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import uuid
from pathlib import Path

import flamepy
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from flamepy.core import pickling
from hypothesis import given
from hypothesis import strategies as st


class Canary:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self):
        return os.mkdir, (str(self._path),)


@pytest.fixture
def session(client) -> str:
    return f"pickle/{uuid.uuid4()}"


@pytest.fixture
def trace(tmp_path):
    """Where a canary leaves its trace; at the end there must be none."""
    path = tmp_path / "unpickled"
    yield path
    assert not path.exists()


@pytest.fixture(params=["call", "client", "environment", "file"])
def cautious(request, client, home, monkeypatch):
    """A client that does not unpickle, and what its reading calls must be given."""
    if request.param == "environment":
        monkeypatch.setenv("FLAME_ALLOW_PICKLE", "0")
    elif request.param == "file":
        (home / ".flame").mkdir()
        (home / ".flame/flame.yaml").write_text(
            "current-context: a\ncontexts:\n- {name: a, cache: {allow_pickle: false}}\n"
        )
    with flamepy.Client(
        client.endpoint, allow_pickle=False if request.param == "client" else None
    ) as mine:
        yield mine, {"allow_pickle": False} if request.param == "call" else {}


def canaries(session: str, trace: Path) -> list[flamepy.ObjectRef]:
    """Every way to hide a canary, put by somebody else."""
    canary = Canary(trace)
    delta = flamepy.put_object(session, b"harmless")
    flamepy.patch_object(delta, canary)
    bare = trace.with_name("bare")
    bare.write_bytes(pickle.dumps(canary))
    return [
        flamepy.put_object(session, canary),
        flamepy.put_object(session, {"deep": [np.zeros(9000), canary]}),
        flamepy.put_object(session, np.array([canary], dtype=object)),
        flamepy.put_object(session, pd.DataFrame({"a": [canary]}), name="frame"),
        flamepy.upload_object(session, bare),
        delta,
    ]


def test_no_reading_call_unpickles(cautious, session, trace, tmp_path):
    mine, choice = cautious
    for ref in canaries(session, trace):
        for reference in (ref, ref, flamepy.ObjectRef(ref.endpoint, ref.key)):
            with pytest.raises(flamepy.PickleRefused, match="allow_pickle=True") as caught:
                mine.get_object(reference, lambda base, patches: (base, patches), **choice)
            assert isinstance(caught.value, ValueError)
            assert ref.key in str(caught.value)
            result = mine.get_many([reference], lambda *parts: parts, **choice)[0]
            assert isinstance(result.error, flamepy.PickleRefused)
            for copy in (False, True):
                with contextlib.suppress(flamepy.PickleRefused):
                    assert mine.get_object(reference, copy=copy, **choice) == b"harmless"
        assert mine.stat_object(ref).key == ref.key
        if not mine.stat_object(ref).patches:
            mine.download_object(ref, tmp_path / "file")
            assert b"mkdir" in (tmp_path / "file").read_bytes()
    assert len(list(mine.list_objects(session))) == 6


def test_no_awaitable_call_unpickles(cautious, session, trace):
    mine, choice = cautious
    refs = canaries(session, trace)

    async def read():
        async with flamepy.aio.AsyncClient.over(mine) as client:
            for ref in refs:
                with pytest.raises(flamepy.PickleRefused):
                    await client.get_object(ref, lambda *parts: parts, **choice)
            results = await client.get_many(refs, lambda *parts: parts, **choice)
            assert {type(result.error) for result in results} == {flamepy.PickleRefused}

    asyncio.run(read())


def test_the_canary_sings_when_it_may(session, tmp_path):
    flamepy.get_object(flamepy.put_object(session, Canary(tmp_path / "unpickled")))
    assert (tmp_path / "unpickled").exists()


@pytest.mark.parametrize(
    "obj",
    [
        b"",
        b"x" * 1_000_000,
        bytearray(b"abc"),
        "",
        "text \ud800",
        "x" * 300,
        np.arange(10.0),
        np.zeros(1_000_000, np.int8),
        pa.table({"a": [1]}),
        pa.record_batch({"a": pa.array([], pa.int8())}),
        pa.array([1, None]),
        pd.DataFrame({"a": [1], "b": ["x"]}),
        pl.DataFrame({"a": [1]}),
    ],
    ids=lambda obj: type(obj).__name__,
)
def test_what_needs_no_unpickling_is_read(cautious, session, obj):
    mine, choice = cautious
    ref = flamepy.put_object(session, obj)
    for _ in range(2):
        result = mine.get_object(ref, **choice)
        assert type(result) is type(obj)
        if hasattr(obj, "equals"):
            assert result.equals(obj)
        else:
            np.testing.assert_equal(result, obj)


def test_files_are_read(cautious, session, tmp_path):
    mine, choice = cautious
    (tmp_path / "file").write_bytes(b"content")
    assert mine.get_object(mine.upload_object(session, tmp_path / "file"), **choice) == b"content"


def test_what_was_read_before_is_refused_all_the_same(session):
    for obj in (7, None, {"a": 1}):
        ref = flamepy.put_object(session, obj)
        assert flamepy.get_object(ref) == obj
        with pytest.raises(flamepy.PickleRefused):
            flamepy.get_object(ref, allow_pickle=False)
        assert flamepy.get_object(ref) == obj


def test_a_call_may_allow_what_the_client_does_not(session):
    with flamepy.Client(allow_pickle=False) as mine:
        assert mine.get_object(mine.put_object(session, {"a": 1}), allow_pickle=True) == {"a": 1}


@pytest.mark.parametrize("value", ["maybe", "2", "flase"])
def test_a_protection_is_not_turned_off_by_a_typing_error(session, monkeypatch, value):
    ref = flamepy.put_object(session, 1)
    monkeypatch.setenv("FLAME_ALLOW_PICKLE", value)
    with pytest.raises(flamepy.InvalidConfig, match="allow_pickle"):
        flamepy.get_object(ref)


@given(st.binary(max_size=60), st.integers(0, 60))
def test_plain_values_are_taken_from_nothing_else(noise, position):
    for value in ("text", b"bytes", bytearray(b"array")):
        for protocol in range(2, 6):
            data = pickle.dumps(value, protocol)
            if type(value) is not bytearray and (type(value) is str or protocol > 2):
                read = pickling.plain_value(memoryview(data))
                assert read in (value, None)
            spoilt = data[:position] + noise + data[position:]
            read = pickling.plain_value(memoryview(spoilt))
            if read is not None:
                assert pickle.loads(spoilt) == read
