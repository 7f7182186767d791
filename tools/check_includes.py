"""Checks that includes follow the layers of ARCHITECTURE.md: nothing points up, and the libraries of one layer stay in
it. Exit code 1 and a line per offence."""

from __future__ import annotations

import re
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"

# What each folder may include, itself apart.
MAY_INCLUDE = {
    "base": set(),
    "tls": {"base"},
    "object": {"base"},
    "memory": {"object", "base"},
    "storage": {"object", "base"},
    "cache": {"memory", "storage", "object", "base"},
    "flight": {"cache", "memory", "storage", "object", "base"},
    "http": {"cache", "memory", "storage", "object", "base"},
    "config": {"base"},
    "server": {"flight", "http", "config", "tls", "cache", "memory", "storage", "object", "base"},
    "session": {"storage", "base"},
}
# Libraries that must not be seen outside one folder.
CONFINED = {
    "rocksdb/": "storage",
    "yaml-cpp/": "config",
    "CLI/": "config",
    "arrow/flight/": {"flight", "server"},
    "bson/": "object",
    "absl/": {"storage", "cache"},
    "boost/beast": "http",
    "boost/asio": {"http", "session"},
    "boost/smart_ptr/": "storage",
    "prometheus/": "http",
    "openssl/": "tls",
    "xxhash.h": {"object", "storage"},
    "uuid/": {"object", "storage"},
    "grpcpp/": "session",
    "google/protobuf/": "session",
    "flame/v1/": "session",  # Generated from proto/.
    "flame/manager/": "session",
}


def offences():
    for file in sorted(SOURCE.glob("flame/*/*.[ch]*")):
        folder = file.parent.name
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            match = re.match(r'#include [<"]([^>"]+)[>"]', line)
            if not match:
                continue
            target = match.group(1)
            where = f"{file.relative_to(SOURCE.parent)}:{number}"
            if target.startswith("flame/"):
                other = target.split("/")[1]
                if other not in (folder, "v1", "manager") and other not in MAY_INCLUDE[folder]:
                    yield f"{where}: {folder}/ may not include {other}/"
            for library, home in CONFINED.items():
                homes = home if isinstance(home, set) else {home}
                if target.startswith(library) and folder not in homes:
                    yield f"{where}: {library} belongs to {', '.join(sorted(homes))}/"


def main() -> int:
    found = list(offences())
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
