"""First calls: no warm worker, with and without a zygote, beside `python -c "import …"` in the same environment.

A worker is got rid of by a call that ends its process; the next one, which is measured, is a fork of the zygote. A
zygote is got rid of by restarting the server: what is measured then has a new box, a new zygote with its imports, and
a worker.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import harness
from book import Book
from harness import Api, Function, Server

EXITS = "def handle(data):\n    if data and 'exit' in data:\n        os._exit(1)\n    return {}\n"


@dataclass(frozen=True)
class Case:
    """What is imported, from what, and how many first calls are measured."""

    key: str
    imports: str
    requirements: str
    rounds: int
    restarts: int
    bare: int


CASES = (
    Case("cognite-sdk", "import cognite.client", "cognite-sdk>=8,<9\n", 200, 5, 8),
    Case("pandas and indsl", "import pandas, indsl", "pandas\nindsl\n", 60, 3, 3),
)


def main(book: Book) -> None:
    for case in CASES:
        try:
            _measure(book, case)
        except RuntimeError as error:
            book.trouble(f"cold, {case.key}", error)


def _measure(book: Book, case: Case) -> None:
    with tempfile.TemporaryDirectory(prefix="kvern-bench-") as folder:
        data = Path(folder)
        bare: list[float] = []
        forks: list[float] = []
        with harness.served(data=data) as server:
            api = Api(server)
            function = api.deploy(f"import os\n{case.imports}\n\n{EXITS}", case.requirements)
            python = _environment(server)
            _imported(python, case.imports)
            for number in range(case.rounds):
                if number * case.bare // case.rounds == len(bare):
                    bare.append(_imported(python, case.imports))
                api.call(function, {"exit": True}, "Failed")
                forks.append(api.call(function)[0])
        anew = [_after_restart(data, function) for _ in range(case.restarts)]
    book.begin("cold", f"First call of a function that imports {case.key}")
    book.head()
    base = book.times(f'python -c "{case.imports}"', bare)
    row = book.times("no warm worker, zygote there", forks, base=base)
    book.times("no zygote: the server was restarted", anew, base=base)
    if case.key == "cognite-sdk":
        whole = base.quantiles["p50"] * 1e3
        book.meet("cold-sdk", row.quantiles["p50"] * 1e3, whole)
        book.meet("cold-sdk-p99", row.quantiles["p99"] * 1e3, whole)


def _after_restart(data: Path, function: Function) -> float:
    with harness.served(data=data) as server:
        api = Api(server)
        api.http.get(f"{api.base}/functions/limits")  # the connection and the token are known then
        return api.call(Function(function.id, f"{api.base}/functions/{function.id}", 0, 0))[0]


def _environment(server: Server) -> Path:
    """The interpreter of the one environment that the server has built."""
    found = sorted((server.data / "build").glob("environments/*/bin/python"))
    if len(found) != 1:
        raise RuntimeError(f"expected one environment, found {found}")
    return found[0]


def _imported(python: Path, imports: str) -> float:
    begun = time.perf_counter()
    subprocess.run([str(python), "-c", imports], check=True, capture_output=True)
    return time.perf_counter() - begun
