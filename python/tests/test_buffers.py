"""Pieces on their way: cut where a server can go on without a copy."""

from __future__ import annotations

import pyarrow as pa
from flamepy.core import buffers
from hypothesis import given
from hypothesis import strategies as st

sizes = st.lists(
    st.sampled_from([0, 1, 63, 64, 65, 196, 65_535, 65_536, 65_537, 200_001]), max_size=8
)


@given(sizes)
def test_chunks_are_the_pieces_cut_at_multiples_of_64(lengths):
    pieces = [bytes([i + 1]) * length for i, length in enumerate(lengths)]
    chunks = list(buffers.chunks(pieces))
    assert b"".join(chunks) == b"".join(pieces)
    assert all(chunk.size % 64 == 0 for chunk in chunks[:-1])
    assert all(chunk.size for chunk in chunks)


@given(sizes)
def test_assembling_puts_all_pieces_at_phase_60(lengths):
    pieces = [bytes([i + 1]) * length for i, length in enumerate(lengths)]
    whole = buffers.assemble(pieces)
    assert whole.to_pybytes() == b"".join(pieces)
    assert whole.address % 64 == buffers.PHASE


def test_chunks_have_a_largest_size(monkeypatch):
    monkeypatch.setattr(buffers, "MAX_CHUNK_BYTES", 128 << 10)
    monkeypatch.setattr(buffers, "_JOINED_MAX_BYTES", 64 << 10)
    pieces = [b"a" * 1_000_000, *[b"b" * 50_000] * 20]
    chunks = list(buffers.chunks(pieces))
    assert b"".join(chunks) == b"".join(pieces)
    assert max(chunk.size for chunk in chunks) <= 128 << 10


def test_large_pieces_are_not_copied():
    piece = pa.py_buffer(bytes(1_000_000))
    addresses = [chunk.address for chunk in buffers.chunks([b"head", piece, b"tail"])]
    assert piece.address + 60 in addresses
