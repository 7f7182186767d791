"""Storage directories as the existing server and its local-mode clients write them."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pyarrow as pa

from harness.flight import NATIVE, OPAQUE_SCHEMA

_STORED = pa.schema(
    [
        pa.field("version", pa.uint64(), nullable=False),
        pa.field("data", pa.binary(), nullable=False),
    ]
)


def _write(path: Path, schema: pa.Schema, batches: list, compression: Optional[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(str(path), schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return path


def opaque_file(path: Path, data: bytes, version: int, compression: Optional[str] = "zstd") -> Path:
    """A base or a patch of the existing server."""
    batch = pa.record_batch(
        [pa.array([version], pa.uint64()), pa.array([data], pa.binary())], schema=_STORED
    )
    return _write(path, _STORED, [batch], compression)


def native_file(
    path: Path, table: pa.Table, version: int, compression: Optional[str] = "zstd"
) -> Path:
    """A table of the existing server."""
    cache = {**NATIVE, b"flame.cache.version": b"%d" % version}
    cache[b"flame.cache.logical_type"] = b"pyarrow.table"
    dressed = table.replace_schema_metadata({**(table.schema.metadata or {}), **cache})
    return _write(path, dressed.schema, dressed.to_batches(), compression)


def local_mode_file(path: Path, data: bytes) -> Path:
    """What a client with a storage path writes: nullable, uncompressed, version 0."""
    batch = pa.record_batch(
        [pa.array([0], pa.uint64()), pa.array([data], pa.binary())], schema=OPAQUE_SCHEMA
    )
    return _write(path, OPAQUE_SCHEMA, [batch], None)


def base(root: Path, key: str) -> Path:
    return root / f"{key}.arrow"


def delta(root: Path, key: str, number: object) -> Path:
    return root / f"{key}.deltas" / f"{number}.arrow"
