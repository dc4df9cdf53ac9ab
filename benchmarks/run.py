"""All benchmarks in one go: `make bench`; some of them: `make bench ONLY=disk,warm`.

Prints rows as they come and the table of targets at the end; keeps JSON and plots below `benchmarks/results`. A part
that fails is told and does not stop the others.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import time
from pathlib import Path

import venvs
from book import Book

HERE = Path(__file__).resolve().parent

PARTS = {
    "disk": "what the disk does, so that ratios can be read",
    "startup": "the command and a server, from their start until they answer",
    "warm": "warm calls: closed and open loops, 200 kB, beside the floor and peers",
    "overload": "goodput at 1 to 256 connections",
    "logs": "a call that prints 10,000 lines",
    "cold": "first calls: with and without a zygote",
    "deploy": "deploys: cold, known lock, code only",
    "many": "500 functions: deployed, called in turn, at rest",
    "history": "lists of a million calls",
    "upkeep": "warm calls while retention deletes old ones",
    "neighbour": "a warm call beside a function that is flooded",
    "hostile": "an honest client and the server's memory beside those who send no whole request",
    "schedules": "how precisely 1,000 schedules fire that are due at once",
    "sdk": "what the official SDK adds to a call",
    "client": "what Kvern's own SDK adds to a call",
    "anatomy": "where a warm call's time goes",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = "\n".join(f"{name:<10} {words}" for name, words in PARTS.items())
    parser.add_argument("only", nargs="?", default="", help=f"names of parts, with commas between them: {known}")
    parts = [part for part in parser.parse_args().only.split(",") if part] or list(PARTS)
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        parser.error(f"expected some of {', '.join(PARTS)}; given {', '.join(unknown)}")
    book = Book()
    begun = time.monotonic()
    for part in parts:
        try:
            importlib.import_module(part).main(book)
        except (Exception, SystemExit) as error:
            book.trouble(part, error)
    book.table(parts)
    kept = book.keep(HERE / "results")
    print(f"\n{time.monotonic() - begun:.0f} s; figures in {kept.relative_to(HERE.parent)}", flush=True)
    try:
        subprocess.run([str(venvs.python("tools")), str(HERE / "plots.py"), str(kept)], check=True)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        print(f"no plots: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
