"""Several client processes at once, small objects: operations per second of all, and their p99."""

from __future__ import annotations

from bench_run import Run
from figures import Samples, percentile
from workers import Worker

TITLE = "small object, several clients"


def run(run: Run) -> None:
    rates, tails = Samples(TITLE, "1/s"), Samples(TITLE, "s")
    kinds = [kind for kind in run.kinds if kind in ("raw", "stock", "sdk", "redis")]
    steps = iter(run.track(TITLE, len(kinds) * len(run.scale.clients) * run.scale.client_rounds))
    for kind in kinds:
        with run.clients(kind, max(run.scale.clients)) as everyone:
            for count in run.scale.clients:
                some = everyone[:count]
                for server in run.servers_of(kind):
                    ask_all(some, "prepare", server=server, name="small")
                for _ in range(run.scale.client_rounds):
                    next(steps, None)
                    for server in run.servers_of(kind):
                        column = kind if kind == server else f"{kind} > {server}"
                        measure(run, some, server, column, rates, tails)
                for server in run.servers_of(kind):
                    ask_all(some[:1], "forget", server=server, name="small")
    for _ in steps:
        pass
    rates.into(run.figures)
    tails.into(run.figures)


def measure(run: Run, some: list[Worker], server: str, column: str, rates, tails) -> None:
    clients = f"{len(some)} client{'s' if len(some) > 1 else ''}"
    for operation in ("put", "get"):
        answers = ask_all(
            some, operation, server=server, name="small", seconds=run.scale.client_seconds
        )
        times = [seconds for answer in answers for seconds in answer["seconds"]]
        rate = sum(len(answer["seconds"]) / sum(answer["seconds"]) for answer in answers)
        rates.add(f"{operation}, {clients}", column, rate)
        tails.add(f"{operation}, {clients}: p99", column, percentile(times, 99))


def ask_all(some: list[Worker], do: str, **request) -> list[dict]:
    """All begin before any is waited for."""
    for worker in some:
        worker.ask(do, **request)
    return [worker.answer() for worker in some]
