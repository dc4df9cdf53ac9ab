"""How long a deploy takes, from the request that creates a function to Ready, on a real server.

| row | what is there already |
|---|---|
| cold | the packages in uv's cache; no lock, no environment, no bytecode |
| new lock | as cold, but for one small package more: nearly all bytecode is there |
| known lock | lock and environment; other code, and a function of its own |
| code only | the same, and `handle` takes no `client`, so nothing of the SDK is imported |

The check of the handler, which is its import in a new host, is part of each figure; what came before it is shown apart.

Bases, in the same run: a bare `uv venv`, and what a person would type for the cold case: `uv venv`, `uv pip install
--compile-bytecode` of the same packages from the same cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness
import venvs
from book import Book
from harness import Api, Function

ROUNDS = 10
REQUIREMENTS = "cognite-sdk>=8,<9\n"
ONE_MORE = REQUIREMENTS + "six==1.17.0\n"
TAKES_CLIENT = "NUMBER = {number}\n\n\ndef handle(client, data):\n    return data\n"
TAKES_DATA = "NUMBER = {number}\n\n\ndef handle(data):\n    return data\n"


def main(book: Book) -> None:
    by_hand(REQUIREMENTS)  # fills the cache
    bare = [by_hand(None) for _ in range(5)]
    typed = [by_hand(REQUIREMENTS) for _ in range(2)]
    with harness.served() as server:
        api = Api(server)
        plain = TAKES_DATA.format(number=0)
        cold, another = _deployed(api, plain, REQUIREMENTS), _deployed(api, plain, ONE_MORE)
        known: list[Function] = []
        alone: list[Function] = []
        for number in range(1, ROUNDS + 1):
            known.append(_deployed(api, TAKES_CLIENT.format(number=number), REQUIREMENTS))
            alone.append(_deployed(api, TAKES_DATA.format(number=number), REQUIREMENTS))
    book.begin("deploy", "Deploy, from the request to Ready")
    book.head()
    base = book.times("uv venv, by hand", bare)
    book.times("uv venv, pip install, compile, by hand", typed, base=base)
    book.times("cold (packages cached)", [cold.took], base=base)
    book.times("new lock, bytecode there", [another.took], base=base)
    book.times("known lock, handler with client", [made.took for made in known], base=base)
    before = book.times("  before its host starts", [made.took - made.loading for made in known], base=base)
    code = book.times("code only", [made.took for made in alone], base=base)
    book.times("  before its host starts", [made.took - made.loading for made in alone], base=base)
    book.meet("deploy-lock", before.quantiles["p50"] * 1e3)
    book.meet("deploy-code", code.quantiles["p50"] * 1e3)


def _deployed(api: Api, handler: str, requirements: str) -> Function:
    function = api.deploy(handler, requirements)
    api.delete(function)
    return function


def by_hand(requirements: str | None) -> float:
    """Seconds for an environment as a person makes it: bare, or with packages from the cache and their bytecode."""
    uv = str(venvs.BIN / "uv")
    with tempfile.TemporaryDirectory(prefix="kvern-bench-") as folder:
        place = Path(folder) / "environment"
        begun = time.perf_counter()
        subprocess.run([uv, "venv", "-q", "--no-project", "-p", sys.executable, str(place)], check=True)
        if requirements is not None:
            install = [uv, "pip", "install", "-q", "--compile-bytecode", "-p", str(place / "bin" / "python")]
            subprocess.run([*install, *requirements.split()], check=True, env={**os.environ, "UV_LINK_MODE": "copy"})
        return time.perf_counter() - begun
