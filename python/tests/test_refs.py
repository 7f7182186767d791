"""References: their bytes, and what is refused as one."""

from __future__ import annotations

import pickle

import bson
import pytest
from bson.int64 import Int64
from flamepy import InvalidArgument, ObjectRef

REF = ObjectRef("grpc://h:1", "a/b/c", 5)


def test_encoding_has_exactly_three_elements_in_order_and_an_int64_version():
    assert REF.encode() == bytes.fromhex(
        "3e000000"
        "02656e64706f696e74000b000000677270633a2f2f683a3100"
        "026b65790006000000612f622f6300"
        "1276657273696f6e000500000000000000"
        "00"
    )


def test_refs_are_values():
    assert ObjectRef.decode(REF.encode()) == REF
    assert pickle.loads(pickle.dumps(REF)) == REF
    assert {REF: 1}[ObjectRef("grpc://h:1", "a/b/c", 5)] == 1
    with pytest.raises(AttributeError):
        REF.version = 6


def test_decode_tolerates_more_elements_and_a_missing_version():
    document = {"endpoint": "grpc://h:1", "key": "a/b/c", "more": 1}
    assert ObjectRef.decode(bson.encode(document)) == ObjectRef("grpc://h:1", "a/b/c", 0)


def test_decoded_version_is_a_plain_int():
    document = {"endpoint": "grpc://h:1", "key": "a/b/c", "version": Int64(2**40)}
    assert type(ObjectRef.decode(bson.encode(document)).version) is int


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"endpoint": "grpc://h:1", "version": 1},
        {"endpoint": 1, "key": "a/b/c", "version": 1},
        {"endpoint": "h", "key": "a/b/c", "version": 1},
        {"endpoint": "grpc://h:1", "key": 2, "version": 1},
        {"endpoint": "grpc://h:1", "key": "a/b", "version": 1},
        {"endpoint": "grpc://h:1", "key": "a/../c", "version": 1},
        {"endpoint": "grpc://h:1", "key": "a/b/c", "version": -1},
        {"endpoint": "grpc://h:1", "key": "a/b/c", "version": 1.0},
        {"endpoint": "grpc://h:1", "key": "a/b/c", "version": True},
        {"endpoint": "grpc://h:1", "key": "a/b/c", "version": "1"},
    ],
)
def test_f13_documents_that_are_no_reference_are_refused(document):
    with pytest.raises(InvalidArgument, match="not an object reference"):
        ObjectRef.decode(bson.encode(document))


@pytest.mark.parametrize("data", [b"", b"xxx", REF.encode()[:-1], b"\x80\x05N.", None])
def test_f13_bytes_that_are_no_reference_are_refused(data):
    with pytest.raises(ValueError, match="not an object reference"):
        ObjectRef.decode(data)
