"""Numbers as people read them."""

from __future__ import annotations


def size_name(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def shown(value: float, unit: str) -> str:
    if unit == "s":
        if value < 1e-6:
            return f"{value * 1e9:.0f} ns"
        if value < 0.01:
            return f"{value * 1e6:.0f} µs"
        return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s"
    if unit == "B/s":
        return f"{value / 1e9:.2f} GB/s" if value >= 1e9 else f"{value / 1e6:.0f} MB/s"
    if unit == "1/s":
        return f"{value:,.0f} /s"
    if unit == "B":
        return f"{value:,.0f} B" if value < 10e6 else f"{value / 1e6:,.0f} MB"
    if unit == "share":
        return f"{value:.1%}"
    raise ValueError(f"no such unit: {unit}")
