"""Formats of opaque objects: what goes in comes out."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from flamepy import DecodeError
from flamepy.core import payload
from flamepy.core.buffers import PHASE, assemble


def encoded(obj) -> bytes:
    return b"".join(payload.encode(obj))


def round_trip(obj, *, copy=False):
    return payload.decode(payload.aligned(encoded(obj)), copy=copy)


class Tagged(np.ndarray):
    """A subclass of an array."""


DTYPES = [
    *"?bBhHiIlLqQefdgFDG",
    ">i4",
    ">f8",
    ">u2",
    ">c16",
    "M8[ns]",
    "M8[D]",
    ">M8[s]",
    "m8[us]",
    "U5",
    ">U5",
    "S5",
    "V7",
    [("a", "i4"), ("b", ">f8"), ("c", "U3")],
    [("a", "i1"), ("n", [("x", "f4"), ("y", "f4", (2,))])],
]
SHAPES = [(), (0,), (1,), (7,), (3, 0, 2), (4, 5), (2, 3, 4), (3000,)]


def filled(dtype, shape):
    dtype = np.dtype(dtype)
    raw = np.random.default_rng(7).integers(0, 2, int(np.prod(shape)) * dtype.itemsize, "u1")
    return np.frombuffer(raw.tobytes(), dtype).reshape(shape).copy()


def assert_same_array(result, expected):
    assert type(result) is type(expected)
    assert result.dtype == expected.dtype
    assert result.dtype.str == expected.dtype.str
    assert result.shape == expected.shape
    assert result.tobytes("A") == expected.tobytes("A")
    assert result.flags.aligned


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_f2_f3_arrays_of_every_dtype_come_back_exactly(dtype, shape):
    array = filled(dtype, shape)
    assert_same_array(round_trip(array), array)
    assert_same_array(round_trip(array, copy=True), array)


@pytest.mark.parametrize("dtype", ["f8", "?", ">i4", "M8[s]"])
def test_f2_fortran_order_is_kept(dtype):
    array = np.asfortranarray(filled(dtype, (30, 40)))
    result = round_trip(array)
    assert_same_array(result, array)
    assert result.strides == array.strides


@pytest.mark.parametrize("dtype", ["f8", ">i4", "M8[s]", "U3"])
@pytest.mark.parametrize("cut", [np.s_[::2], np.s_[::-1], np.s_[:, 1], np.s_[..., ::3]], ids=str)
def test_f2_arrays_that_are_not_contiguous(dtype, cut):
    array = filled(dtype, (60, 40))[cut]
    np.testing.assert_array_equal(round_trip(array), array)


def test_f2_masked_arrays_keep_their_mask():
    array = np.ma.masked_array(np.arange(9.0), np.arange(9) % 2 == 0, fill_value=-1)
    result = round_trip(array)
    assert isinstance(result, np.ma.MaskedArray)
    np.testing.assert_array_equal(result.mask, array.mask)
    np.testing.assert_array_equal(result.filled(), array.filled())


def test_f2_subclasses_stay_what_they_are():
    array = np.arange(2000).view(Tagged)
    assert_same_array(round_trip(array), array)


def test_f3_object_arrays():
    array = np.array([None, "x", {"a": [1]}, 2**100], object)
    result = round_trip(array)
    assert result.dtype == object
    assert result.tolist() == array.tolist()


@pytest.mark.parametrize("dtype", ["f8", "?", ">i4", "M8[s]", "O", "U3"])
@pytest.mark.parametrize("size", [3, 30_000])
def test_f2_results_are_read_only_unless_copied(dtype, size):
    array = np.arange(size).astype("i8").astype(dtype)
    with pytest.raises(ValueError, match="read-only"):
        round_trip(array)[0] = array[1]
    copy = round_trip(array, copy=True)
    copy[0] = array[1]


@pytest.mark.parametrize("dtype", ["f8", ">f8", "?", "c16", "M8[s]"])
def test_large_arrays_are_neither_copied_to_write_nor_to_read(dtype):
    array = np.zeros(100_000, dtype)
    pieces = payload.encode(array)
    start = array.__array_interface__["data"][0]
    assert any(pa.py_buffer(piece).address == start for piece in pieces)
    data = assemble(pieces)
    result = payload.decode(data)
    address = result.__array_interface__["data"][0]
    assert data.address < address < data.address + data.size
    assert address % 64 == 0


@pytest.mark.parametrize("shift", range(0, 64, 7))
def test_a_payload_that_lies_anywhere_yields_aligned_arrays(shift):
    for array in (np.arange(1000.0), np.zeros(1000, "c16")):
        data = encoded(array)
        memory = pa.py_buffer(bytes(shift) + data).slice(shift)
        result = payload.decode(payload.aligned(memory))
        assert result.flags.aligned
        np.testing.assert_array_equal(result, array)


def test_aligning_happens_once():
    data = payload.aligned(encoded(np.arange(1000.0)))
    assert data.address % 64 == PHASE
    assert payload.aligned(data) is data


@pytest.mark.parametrize(
    "obj",
    [
        None,
        7,
        "text",
        b"",
        b"bytes",
        b"FLM\x01 not a tensor",
        [1, {"a": (2, 3)}],
        pa.array([1, None, 3]),
        pa.array(["a", "b"]).dictionary_encode(),
        pa.array(range(100))[5:9],
        pa.nulls(0),
        pa.chunked_array([[1], [2, 3]]),
        pa.table({"a": [1, 2]}),
        pa.table({"a": [1, 2]}).to_batches()[0],
        pa.table({"a": pa.array([], pa.int8())}),
    ],
    ids=repr,
)
def test_objects_and_deltas(obj):
    result = round_trip(obj)
    assert type(result) is type(obj)
    assert result == obj


def test_series_come_back_as_series():
    index = pd.Index([3, 4], name="i")
    series = pd.Series([1.5, None], index=index, name="s", dtype="Float64")
    pd.testing.assert_series_equal(round_trip(series), series)
    pd.testing.assert_index_equal(round_trip(index), index)
    enum = pl.Series("e", ["a", None], pl.Enum(["a", "b"]))
    result = round_trip(enum)
    assert result.dtype == enum.dtype
    assert result.equals(enum)


def test_bare_pickles_are_objects_and_other_bytes_are_bytes():
    assert payload.decode(pickle.dumps({"a": 1}, 4)) == {"a": 1}
    for raw in (b"", b"x", b"PK\x03\x04...", b"\x80"):
        assert payload.decode(raw) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"FLM\x00",
        b"FLM\x00\x80\x05garbage",
        b"FLM\x01short",
        b"FLM\x02",
        b"FLM\x03\x00\x00",
        b"FLM\x04" + bytes(100),
        b"\x80\x05 no pickle",
        encoded(np.arange(9.0))[:-5],
        encoded(pa.array([1]))[:60],
    ],
    ids=repr,
)
def test_damaged_payloads_are_typed_errors(raw):
    with pytest.raises(DecodeError):
        payload.decode(raw)


def test_only_immutable_views_and_small_values_are_shared():
    assert payload.is_shareable("x")
    assert payload.is_shareable(pa.array([1]))
    assert payload.is_shareable(round_trip(np.arange(9.0)))
    assert not payload.is_shareable("x" * 100_000)
    assert not payload.is_shareable([1])
    assert not payload.is_shareable(np.arange(9.0))
    assert not payload.is_shareable(round_trip(np.array([[]], object)))
    assert not payload.is_shareable(pd.Series([1]))


def test_the_shape_of_a_shared_array_belongs_to_each_caller():
    array = round_trip(np.arange(6.0))
    payload.share(array).shape = (2, 3)
    assert array.shape == (6,)
