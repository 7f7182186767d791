"""Checks that every decoder has a fuzz target and every target a corpus: a header below src/ that declares a function
which turns foreign bytes into a value is included by a file of fuzz/. Exit code 1 and a line per offence."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUZZ = ROOT / "fuzz"
MAX_CORPUS_BYTES = 1 << 20
DECODER = re.compile(r"\b(Decode\w*|Parse\w*|ReadStored|ReadArrowFile|ReadForeignFile|RunAction)\(")
# Decoders without a target, and why.
EXEMPT = {"config/command_line.h": "arguments of whoever starts the server"}
FOR_TESTS = re.compile(r"/(fake_\w+|\w+_testing)\.h$")


def offences():
    targets = sorted(FUZZ.glob("*_fuzz.cc"))
    included = set(re.findall(r'#include "flame/([^"]+)"', "".join(t.read_text() for t in targets)))
    for header in sorted((ROOT / "src/flame").glob("*/*.h")):
        name = f"{header.parent.name}/{header.name}"
        code = re.sub(r"//.*", "", header.read_text())
        found = sorted(set(DECODER.findall(code)))
        if found and name not in included and name not in EXEMPT and not FOR_TESTS.search(name):
            yield f"src/flame/{name}: no fuzz target includes it, and it declares {', '.join(found)}"
    listed = (FUZZ / "CMakeLists.txt").read_text()
    names = {t.name.removesuffix("_fuzz.cc") for t in targets}
    for name in sorted(names):
        if not any((FUZZ / "corpus" / name).glob("*")):
            yield f"fuzz/{name}_fuzz.cc: fuzz/corpus/{name} is empty; see fuzz/make_corpus.py"
        if f"flame_fuzz({name} " not in listed:
            yield f"fuzz/{name}_fuzz.cc is not in fuzz/CMakeLists.txt"
    files = [f for f in (FUZZ / "corpus").rglob("*") if f.is_file()]
    for folder in sorted({f.parent.name for f in files} - names):
        yield f"fuzz/corpus/{folder}: there is no fuzz/{folder}_fuzz.cc"
    size = sum(f.stat().st_size for f in files)
    if size > MAX_CORPUS_BYTES:
        yield f"fuzz/corpus has {size} bytes; keep it below {MAX_CORPUS_BYTES}"


def main() -> int:
    found = list(offences())
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
