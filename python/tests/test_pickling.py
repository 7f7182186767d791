"""Pickles: readable by anybody, without a copy by us, and damage is noticed."""

from __future__ import annotations

import collections
import pickle
import struct
from unittest import mock

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from flamepy import DecodeError
from flamepy.core import pickling
from flamepy.core.buffers import view_of
from hypothesis import given, settings
from hypothesis import strategies as st

BIG = np.arange(10_000)


def dumped(obj) -> bytes:
    return b"".join(pickling.dump(obj))


def same(a, b) -> bool:
    """Equality that also holds for arrays within containers."""
    if isinstance(a, np.ndarray):
        return type(a) is type(b) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([0x97, 0x9797, 0x95, 0x98])
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.integers(0, 300).map(lambda n: b"\x97" * n)
    | st.integers(65_530, 65_545).map(lambda n: bytes(n))
    | st.integers(65_530, 65_545).map(lambda n: "\x97" * n)
    | st.integers(0, 70_000).map(bytearray)
    | st.integers(0, 2000).map(np.arange)
    | st.integers(0, 2000).map(lambda n: np.full(n, 0x97, "u1"))
    | st.integers(0, 500).map(lambda n: np.arange(n).astype("M8[s]"))
)
objects = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@given(objects)
@settings(max_examples=150, deadline=None)
def test_any_pickler_and_ours_read_the_same(obj):
    with mock.patch.object(pickling, "OUT_OF_BAND_MIN_BYTES", 64):
        data = dumped(obj)
    assert same(obj, pickle.loads(data))
    assert same(obj, pickle._loads(data))
    assert same(obj, pickling.load(view_of(data)))
    assert same(obj, pickling.load(view_of(data), copy=True))


def test_large_buffers_are_borrowed_when_written():
    pieces = pickling.dump({"x": BIG})
    address = BIG.__array_interface__["data"][0]
    assert any(pa.py_buffer(piece).address == address for piece in pieces)


def test_large_buffers_are_aligned_and_viewed_when_read():
    data = pa.py_buffer(dumped([b"odd", BIG, 7, BIG[::-1].copy()]))
    for array in pickling.load(view_of(data))[1::2]:
        offset = array.__array_interface__["data"][0] - data.address
        assert 0 <= offset < data.size
        assert offset % 64 == 0
        assert not array.flags.writeable


def test_a_copy_is_private_and_writable():
    frozen = BIG.copy()
    frozen.flags.writeable = False
    data = dumped([BIG, frozen])
    for array in pickling.load(view_of(data), copy=True):
        array[0] = -1
    assert pickling.load(view_of(data))[0][0] == 0


def test_small_buffers_stay_in_band():
    assert not pickling.has_table(view_of(dumped(np.arange(10))))


def test_bytes_that_look_like_opcodes_do_not_confuse():
    obj = {"numbers": [0x97, 151, b"\x97\x98"], "x": BIG}
    data = dumped(obj)
    assert pickling.has_table(view_of(data))
    assert same(obj, pickling.load(view_of(data)))


def test_a_scan_that_would_cost_too_much_is_avoided():
    obj = [list(range(400_000)), BIG]
    data = dumped(obj)
    assert not pickling.has_table(view_of(data))
    assert same(obj, pickle.loads(data))


def test_identity_within_an_object_is_kept():
    obj = [BIG, BIG, []]
    obj[2].append(obj[2])
    result = pickling.load(view_of(dumped(obj)))
    assert result[0] is result[1]
    assert result[2][0] is result[2]


def test_functions_travel_by_value():
    offset = 2
    assert pickling.load(view_of(dumped(lambda x: x + offset)))(40) == 42


TABLE = pa.table({"i": range(20_000), "s": ["text"] * 20_000}, metadata={"user": "data"})
ARROW = {
    "table": TABLE,
    "slice": TABLE.slice(7, 5),
    "chunks": pa.chunked_array([[1, 2], [3]]),
    "no chunks": pa.chunked_array([], type=pa.int8()),
    "batch": TABLE.to_batches()[0],
    "empty batch": TABLE.schema.empty_table().to_batches(),
    "array": TABLE["s"].chunk(0),
    "array slice": TABLE["i"].chunk(0)[3:5],
    "dictionary": pa.array(["a", "b", "a"]).dictionary_encode(),
    "struct": pa.array([{"a": 1}, None]),
    "null": pa.nulls(3),
    "scalar": pa.scalar(5),
    "schema": TABLE.schema,
}


@pytest.mark.parametrize("name", ARROW)
def test_arrow_data_in_objects(name):
    obj = [ARROW[name]]
    data = dumped(obj)
    for result in (pickle.loads(data), pickling.load(view_of(data))):
        assert result == obj
        assert type(result[0]) is type(obj[0])


def test_an_arrow_slice_does_not_ship_its_parent():
    assert len(dumped([TABLE.slice(3, 1)])) < 2000


def test_frames_and_series_in_objects():
    frame = pd.DataFrame({"i": range(9000), "s": ["x"] * 9000})
    data = dumped({"frame": frame, "series": frame["s"], "polars": pl.Series("p", [1, None])})
    result = pickling.load(view_of(data))
    pd.testing.assert_frame_equal(result["frame"], frame)
    pd.testing.assert_series_equal(result["series"], frame["s"])
    assert result["polars"].equals(pl.Series("p", [1, None]))


def test_subclasses_of_containers():
    obj = collections.OrderedDict(x=BIG)
    assert same(obj, pickling.load(view_of(dumped(obj))))


@pytest.mark.parametrize("position", [0, 8, 16, 24, 25, 31])
def test_a_damaged_table_is_noticed(position):
    data = bytearray(dumped(BIG))
    data[-40 + position] ^= 0x41  # One entry of 24 bytes, count, magic.
    if position >= 32:
        return
    with pytest.raises(DecodeError, match="damaged"):
        pickling.load(view_of(data))


@given(st.binary(min_size=40, max_size=200), st.integers(0, 2**64 - 1))
@settings(max_examples=200, deadline=None)
def test_any_table_of_garbage_is_noticed(garbage, count):
    data = b"\x80\x05N." + garbage + struct.pack("<Q8s", count, pickling.MAGIC)
    if count == 0:
        return
    with pytest.raises(DecodeError):
        pickling.load(view_of(data))


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.complex_numbers()
        | st.text(max_size=20)
        | st.binary(max_size=20),
        lambda items: (
            st.lists(items, max_size=4)
            | st.lists(items, max_size=4).map(tuple)
            | st.dictionaries(st.text(max_size=5), items, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_what_is_plain_has_the_same_bytes_without_the_larger_pickler(obj):
    with mock.patch.object(pickling, "is_plain", return_value=False):
        expected = dumped(obj)
    assert dumped(obj) == expected


def in_main():
    return 1


@pytest.mark.parametrize(
    "obj",
    [
        in_main,
        [lambda: 1],
        {"f": in_main},
        collections.OrderedDict(a=1),
        {1, 2},
        "x" * 5000,
        b"x" * 5000,
        [[[1]]],
        list(range(17)),
        np.int64(1),
        True.__class__,
    ],
)
def test_what_may_need_the_larger_pickler_is_not_plain(obj):
    assert not pickling.is_plain(obj)


def test_classes_that_are_named_are_plain():
    assert not pickling.is_plain([collections.OrderedDict()])
    assert pickling.is_plain([collections.OrderedDict()], (collections.OrderedDict,))
