"""The server's pages for monitoring, as a scraper reads them."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from dataclasses import dataclass

_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Metrics:
    """One scrape."""

    kinds: dict[str, str]  # Name of the family: counter, gauge or histogram.
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def __call__(self, name: str, **labels: str) -> float:
        """A sample's value; 0 for a series that is not there yet."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)

    def series(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for sample, labels in self.samples if sample == name]


def fetch(url: str, method: str = "GET") -> tuple[int, str]:
    """Status and body."""
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(url: str) -> Metrics:
    """Read /metrics; every line must be of the format."""
    status, text = fetch(f"{url}/metrics")
    assert status == 200
    kinds: dict[str, str] = {}
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            assert name not in kinds, f"{name} comes twice"
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = _SAMPLE.fullmatch(line)
            assert match, f"not a sample: {line!r}"
            labels = frozenset(_LABEL.findall(match[2] or ""))
            assert (match[1], labels) not in samples, f"{line!r} comes twice"
            samples[match[1], labels] = float(match[3])
    return Metrics(kinds, samples)
