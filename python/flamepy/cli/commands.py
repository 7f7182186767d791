"""The commands but `doctor`: each takes a client, its options and the output; an exit code."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any, Optional

import bson
import pyarrow as pa

import flamepy
from flamepy.cli.output import Output, age, moment, size
from flamepy.core import payload
from flamepy.core.client import Client
from flamepy.core.errors import InvalidArgument, NotSupported
from flamepy.core.keys import ObjectKey
from flamepy.core.listing import ObjectInfo

__all__ = ["get", "info", "ls", "put", "rm", "server_info", "stat"]


def server_info(client: Client, timeout: Optional[float]) -> dict[str, Any]:
    """What the server says of itself; of a Flame 0.6 server only the endpoint."""
    session = client._session
    deadline = session.deadline(timeout)
    connection = session.connect()
    if not connection.speaks_documents(deadline):
        return {"endpoint": connection.endpoint, "dialect": "stock"}
    (reply,) = connection.raw_action("flame.info", b"", deadline, "ask for info")
    return {**bson.decode(reply), "dialect": "document"}


def info(client: Client, options: argparse.Namespace, output: Output) -> int:
    found = server_info(client, options.timeout)
    found["client"] = flamepy.__version__
    if output.json:
        output.document(found)
        return 0
    rows = [("endpoint", found["endpoint"])]
    if found["dialect"] == "stock":
        rows.append(("program", "a Flame 0.6 server: no stat, list, watch, ttl or if_version"))
    else:
        started = output.now - found["started_ms"] / 1000
        rows += [
            ("program", f"{found['program']} {found['version']}"),
            ("storage", found["storage"]),
            ("store id", found["store_id"]),
            ("up for", age(started)),
        ]
    output.pairs("Server", [*rows, ("client", f"flamepy {flamepy.__version__}")])
    return 0


def ls(client: Client, options: argparse.Namespace, output: Output) -> int:
    count, total = 0, 0
    with output.paged(not options.no_pager) as out:
        for found in client.list_objects(options.prefix):
            if options.limit is not None and count >= options.limit:
                break
            if output.json:
                output.document(_document(found))
            else:
                if count == 0:
                    header = (
                        f"{'SIZE':>10}  {'AGE':>8}  {'EXPIRES':>8}  {'VERSION':>7}  KIND    KEY"
                    )
                    print(output.paint(header, "bold"), file=out)
                print(_line(found, output.now), file=out)
            count, total = count + 1, total + found.nbytes
        if not output.json:
            print(f"{count} object{'' if count == 1 else 's'}, {size(total)}", file=out)
    return 0


def stat(client: Client, options: argparse.Namespace, output: Output) -> int:
    found = client.stat_object(options.key)
    if output.json:
        output.document(_document(found))
        return 0
    rows = [
        ("key", found.key),
        ("endpoint", found.ref.endpoint),
        ("version", f"{found.version} (base {found.base_version}, {found.patches} patches)"),
        ("kind", f"{found.kind}{f', {found.logical_type}' if found.logical_type else ''}"),
        ("size", f"{size(found.nbytes)} ({found.nbytes} bytes)"),
        ("modified", f"{_when(found.modified_at)}, {_age(found, output.now)} ago"),
        ("expires", "never" if found.expires_at is None else _when(found.expires_at)),
    ]
    if found.schema is not None:
        columns = [f"{field.name}: {field.type}" for field in found.schema]
        rows.append(("columns", "\n".join(columns) if sys.stdout.isatty() else ", ".join(columns)))
    output.pairs("Object", rows)
    return 0


def get(client: Client, options: argparse.Namespace, output: Output) -> int:
    found = client.stat_object(options.key)
    if options.output is None:
        if options.raw:
            raise InvalidArgument("--raw needs -o FILE")
        obj = client.get_object(found.ref, allow_pickle=options.allow_pickle)
        if output.json:
            if isinstance(obj, (pa.Table, pa.RecordBatch)):
                obj = obj.to_pylist()
            output.document({"key": found.key, "version": found.version, "value": obj})
        else:
            print(obj if isinstance(obj, str) else repr(obj))
        return 0
    if options.output == "-":
        with tempfile.TemporaryDirectory() as folder:
            _write(client, found, Path(folder) / "object", options)
            with open(Path(folder) / "object", "rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        return 0
    path = Path(options.output)
    _write(client, found, path, options)
    if output.json:
        output.document(
            {**_document(found), "file": str(path), "file_bytes": os.stat(path).st_size}
        )
    else:
        print(f"{found.key} v{found.version} -> {path}, {size(path.stat().st_size)}")
    return 0


def put(client: Client, options: argparse.Namespace, output: Output) -> int:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(options.file)
        if options.file == "-":  # An upload must know its size.
            source = Path(folder) / "stdin"
            with open(source, "wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        ref = client.upload_object(
            options.key, source, ttl=options.ttl, if_version=options.if_version
        )
        nbytes = source.stat().st_size
    if output.json:
        output.document({"endpoint": ref.endpoint, "key": ref.key, "version": ref.version})
    else:
        print(f"{ref.key} v{ref.version}, {size(nbytes)}")
    return 0


def rm(client: Client, options: argparse.Namespace, output: Output) -> int:
    keys = [ObjectKey.from_path(prefix) for prefix in options.prefix]
    prefixes = [str(key) for key in keys if key.object_id is None]
    if prefixes and not options.yes and not _confirmed(client, prefixes):
        print("flamepy: nothing was deleted", file=sys.stderr)
        return 5
    deleted = 0
    for key in keys:
        count = client.delete_objects(str(key))
        deleted += count
        if count == 0 and key.object_id is not None:
            print(f"flamepy: {key} was not there", file=sys.stderr)
    if output.json:
        output.document({"deleted": deleted})
    else:
        print(f"deleted {deleted}" if deleted >= 0 else "deleted; this server does not count")
    return 0 if deleted or prefixes else 3


def _confirmed(client: Client, prefixes: list[str]) -> bool:
    if not sys.stdin.isatty():
        print("flamepy: deleting a prefix needs --yes when nobody can be asked", file=sys.stderr)
        return False
    try:
        counted = f"{sum(1 for prefix in prefixes for _ in client.list_objects(prefix))} objects"
    except NotSupported:
        counted = "all objects"
    print(f"Delete {counted} under {', '.join(prefixes)}? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _write(client: Client, found: ObjectInfo, path: Path, options: argparse.Namespace) -> None:
    """Write an object to a file the way its kind wants it."""
    if found.kind == "native":
        _write_object(client.get_object(found.ref), path)
        return
    if found.patches:
        raise InvalidArgument(
            f"get {found.key}: it has {found.patches} patches, which only a program can apply"
        )
    partial = path.with_name(f".{path.name[:200]}.{uuid.uuid4()}")
    try:
        client.download_object(found.ref, partial)
        if options.raw or not _is_encoded(partial):
            os.replace(partial, path)
            return
        with open(partial, "rb") as file:
            obj = payload.decode(file.read(), allow_pickle=options.allow_pickle)
        _write_object(obj, path)
    finally:
        partial.unlink(missing_ok=True)


def _is_encoded(path: Path) -> bool:
    """Whether it was an object of a program, and not a file."""
    with open(path, "rb") as file:
        return file.read(3) == b"FLM"


def _write_object(obj: Any, path: Path) -> None:
    if isinstance(obj, (bytes, bytearray)):
        path.write_bytes(obj)
    elif isinstance(obj, str):
        path.write_text(obj, encoding="utf-8")
    elif hasattr(obj, "__array_interface__"):
        import numpy

        with open(path, "wb") as file:
            numpy.save(file, obj, allow_pickle=False)
    else:
        _write_table(obj, path)


def _write_table(obj: Any, path: Path) -> None:
    if not hasattr(obj, "__arrow_c_stream__") and not isinstance(obj, pa.RecordBatch):
        raise InvalidArgument(
            f"a {type(obj).__name__} has no form in a file; read it in a program, or take its "
            "stored bytes with --raw"
        )
    table = pa.Table.from_batches([obj]) if isinstance(obj, pa.RecordBatch) else pa.table(obj)
    if path.suffix == ".parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(table, path)
    elif path.suffix == ".csv":
        import pyarrow.csv

        pyarrow.csv.write_csv(table, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)


def _document(found: ObjectInfo) -> dict[str, Any]:
    return {
        "key": found.key,
        "endpoint": found.ref.endpoint,
        "version": found.version,
        "base_version": found.base_version,
        "kind": found.kind,
        "bytes": found.nbytes,
        "patches": found.patches,
        "modified": moment(found.modified_at),
        "expires": moment(found.expires_at),
        "logical_type": found.logical_type,
        "columns": None
        if found.schema is None
        else {field.name: str(field.type) for field in found.schema},
    }


def _line(found: ObjectInfo, now: float) -> str:
    expires = "-" if found.expires_at_ms is None else age(found.expires_at_ms / 1000 - now)
    return (
        f"{size(found.nbytes):>10}  {_age(found, now):>8}  {expires:>8}  {found.version:>7}  "
        f"{found.kind:<6}  {found.key}"
    )


def _age(found: ObjectInfo, now: float) -> str:
    return age(now - found.modified_ms / 1000)


def _when(value: Any) -> str:
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
