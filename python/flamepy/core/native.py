"""Arrow-native objects: tables and frames that are stored as record batches.

Schema metadata says what to make of the batches: ``flame.cache.format`` =
``arrow-table-v1``, and ``flame.cache.logical_type``. The user's own metadata is kept; keys
that start with ``flame.cache.`` are the cache's and are taken off on reading.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import pyarrow as pa

from flamepy.core.buffers import MAX_CHUNK_BYTES, write_stream

__all__ = ["NativeData", "classify", "decode", "logical_type"]

FORMAT_KEY = b"flame.cache.format"
FORMAT_ARROW = b"arrow-table-v1"
VERSION_KEY = b"flame.cache.version"
LOGICAL_TYPE_KEY = b"flame.cache.logical_type"
_RESERVED = b"flame.cache."

_TABLE = b"pyarrow.table"
_BATCH = b"pyarrow.record_batch"
_PANDAS = b"pandas.dataframe"
_POLARS = b"polars.dataframe"
_DATASET = b"dataset"


@dataclass(frozen=True)
class NativeData:
    """A schema and its batches, boundaries as they were put."""

    schema: pa.Schema
    batches: tuple[pa.RecordBatch, ...]

    @classmethod
    def from_stream(cls, data: Any) -> NativeData:
        """Read one Arrow IPC stream; the batches are views of `data`."""
        reader = pa.ipc.open_stream(data)
        return cls(reader.schema, tuple(reader))

    def to_stream(self) -> pa.Buffer:
        """Write one Arrow IPC stream."""
        return write_stream(self.schema, self.batches)

    @property
    def nbytes(self) -> int:
        """Bytes of the batches' data."""
        return sum(map(_nbytes, self.batches))


def classify(obj: Any) -> Optional[NativeData]:
    """The native form of a table, batch, frame or Arrow stream; None for anything else.

    A frame that Arrow cannot carry (a column of mixed objects...) is None too.
    """
    if isinstance(obj, pa.Table):
        return _from_table(obj, _TABLE)
    if isinstance(obj, pa.RecordBatch):
        return _native(obj.schema, [obj], _BATCH)
    if type(obj) in _PLAIN_TYPES or isinstance(obj, (pa.Array, pa.ChunkedArray)):
        return None
    if isinstance(obj, _types("pandas", "DataFrame", "Series", "Index")):
        if type(obj) not in _types("pandas", "DataFrame"):
            return None  # A subclass is more than its columns.
        return _from_conversion(lambda: pa.Table.from_pandas(obj), _PANDAS)
    if isinstance(obj, _types("polars", "LazyFrame")):
        obj = obj.collect()
    if isinstance(obj, _types("polars", "DataFrame", "Series")):
        if (
            type(obj) not in _types("polars", "DataFrame")
            or _types("polars", "Object")[0] in obj.dtypes
        ):
            return None  # Polars would export objects as their addresses.
        return _from_conversion(obj.to_arrow, _POLARS)
    return _from_protocol(obj)


def decode(data: NativeData, patches: Sequence[NativeData] = (), *, copy: bool = False) -> Any:
    """Make the object that `data`, with the rows of `patches` appended, stands for.

    Parameters
    ----------
    data : NativeData
        The base; its schema metadata tells the type of the result.
    patches : sequence of NativeData
        A record batch with rows appended comes back as a table.
    copy : bool
        Give a pandas frame memory of its own; Arrow data cannot be modified anyway.
    """
    kind = (data.schema.metadata or {}).get(LOGICAL_TYPE_KEY)
    schema = _without_reserved(data.schema)
    if kind == _BATCH and not patches:
        return _one_batch(schema, data.batches)
    batches = [*data.batches, *(batch for patch in patches for batch in patch.batches)]
    table = pa.Table.from_batches([_with_schema(batch, schema) for batch in batches], schema)
    if kind == _PANDAS and _importable("pandas"):
        frame = table.to_pandas()
        return frame.copy() if copy else frame
    if kind == _POLARS and _importable("polars"):
        import polars

        return polars.from_arrow(table)
    return table


def logical_type(schema: pa.Schema) -> Optional[str]:
    """What kind of table this is, ``pandas.dataframe`` for example."""
    value = (schema.metadata or {}).get(LOGICAL_TYPE_KEY)
    return None if value is None else value.decode("utf-8", "replace")


_PLAIN_TYPES = frozenset(
    (type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set)
)


def _types(module: str, *names: str) -> tuple[type, ...]:
    """Types of a module if it is imported: without it, no object can be of its types."""
    loaded = sys.modules.get(module)
    return tuple(getattr(loaded, name) for name in names if hasattr(loaded, name))


def _from_protocol(obj: Any) -> Optional[NativeData]:
    """What tells by a method of its own that it is a table."""
    to_arrow = getattr(obj, "to_arrow", None)
    if callable(to_arrow) and not isinstance(obj, type):
        data = to_arrow()
        if isinstance(data, pa.Table):
            return _from_table(data, _DATASET)
        if isinstance(data, pa.RecordBatch):
            return _native(data.schema, [data], _DATASET)
    if hasattr(type(obj), "__arrow_c_stream__"):
        try:
            reader = pa.RecordBatchReader.from_stream(obj)
        except (pa.ArrowException, TypeError, ValueError):
            return None  # A stream of plain arrays is no table.
        return _from_table(reader.read_all(), _TABLE)
    return None


def _from_conversion(convert: Any, kind: bytes) -> Optional[NativeData]:
    try:
        table = convert()
    except (pa.ArrowException, TypeError, ValueError, ArithmeticError):
        return None
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "polars":
            raise
        return None
    return _from_table(table, kind)


def _from_table(table: pa.Table, kind: bytes) -> NativeData:
    return _native(table.schema, table.to_batches(), kind)


def _native(schema: pa.Schema, batches: Iterable[pa.RecordBatch], kind: bytes) -> NativeData:
    metadata = dict(schema.metadata or {})
    metadata.update({FORMAT_KEY: FORMAT_ARROW, VERSION_KEY: b"0", LOGICAL_TYPE_KEY: kind})
    pieces = tuple(piece for batch in batches for piece in _split(batch))
    return NativeData(schema.with_metadata(metadata), pieces)


def _split(batch: pa.RecordBatch) -> list[pa.RecordBatch]:
    """Cut a batch that no Flight message can carry."""
    count = min(-(-_nbytes(batch) // MAX_CHUNK_BYTES), batch.num_rows)
    if count <= 1:
        return [batch]
    rows = -(-batch.num_rows // count)
    return [batch.slice(start, rows) for start in range(0, batch.num_rows, rows)]


def _nbytes(batch: pa.RecordBatch) -> int:
    try:
        return batch.nbytes
    except TypeError:  # Older pyarrow cannot tell which part of a view's data is meant.
        return batch.get_total_buffer_size()


def _without_reserved(schema: pa.Schema) -> pa.Schema:
    kept = {k: v for k, v in (schema.metadata or {}).items() if not k.startswith(_RESERVED)}
    return schema.with_metadata(kept) if kept else schema.remove_metadata()


def _with_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return batch.replace_schema_metadata(schema.metadata)


def _one_batch(schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> Any:
    """The batch that was put: cut ones are joined, none is an empty one."""
    if not batches:
        return pa.RecordBatch.from_arrays(
            [pa.array([], type=field.type) for field in schema], schema=schema
        )
    if len(batches) > 1:
        table = pa.Table.from_batches(batches).combine_chunks()
        batches = table.to_batches()
        if len(batches) > 1:
            return table.replace_schema_metadata(schema.metadata)
    return _with_schema(batches[0], schema)


def _importable(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        return False
    return True
