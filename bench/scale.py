"""How much is measured: everything, a quick look, or just enough to see that it works."""

from __future__ import annotations

from dataclasses import dataclass

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Scale:
    name: str
    rounds: int  # Of which the median is taken.
    calls: int  # Of a small operation, per round and column.
    sizes: tuple[int, ...]  # Bytes of the objects whose throughput is measured.
    bytes_per_round: int  # Of one size; at least one call, at most `calls`.
    clients: tuple[int, ...]
    client_seconds: float  # Of one measurement with several clients.
    client_rounds: int
    deltas: int
    keys: int  # To list and to delete.
    objects: int  # In the storage that is opened, and whose memory is counted.
    metrics_rounds: int
    metrics_calls: int
    in_flight: int  # Calls, and tasks of a chain.
    large_bytes: int  # Of an argument and a result.
    spare_seconds: float  # For the session manager to have a spare process ready.
    trace: tuple[int, int]  # Requests and keys of the traces that compare eviction policies.

    def calls_of(self, size: int) -> int:
        return max(1, min(self.calls, self.bytes_per_round // size))


FULL = Scale(
    name="full",
    rounds=5,
    calls=300,
    sizes=(KIB, 32 * KIB, MIB, 16 * MIB, 64 * MIB, 256 * MIB),
    bytes_per_round=256 * MIB,
    clients=(1, 4, 16),
    client_seconds=0.5,
    client_rounds=3,
    deltas=1000,
    keys=100_000,
    objects=1_000_000,
    metrics_rounds=15,
    metrics_calls=1000,
    in_flight=1000,
    large_bytes=100_000_000,
    spare_seconds=3,
    trace=(1_000_000, 100_000),
)
QUICK = Scale(
    name="quick",
    rounds=2,
    calls=100,
    sizes=(KIB, 32 * KIB, MIB, 64 * MIB),
    bytes_per_round=64 * MIB,
    clients=(1, 4),
    client_seconds=0.2,
    client_rounds=1,
    deltas=1000,
    keys=10_000,
    objects=100_000,
    metrics_rounds=5,
    metrics_calls=300,
    in_flight=1000,
    large_bytes=100_000_000,
    spare_seconds=3,
    trace=(200_000, 20_000),
)
SMOKE = Scale(
    name="smoke",
    rounds=1,
    calls=3,
    sizes=(KIB, MIB),
    bytes_per_round=2 * MIB,
    clients=(1, 2),
    client_seconds=0.02,
    client_rounds=1,
    deltas=10,
    keys=200,
    objects=2000,
    metrics_rounds=1,
    metrics_calls=3,
    in_flight=5,
    large_bytes=2_000_000,
    spare_seconds=3,
    trace=(2000, 200),
)
