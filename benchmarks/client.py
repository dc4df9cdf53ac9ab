"""The SDK: how long it takes to import, what it adds to a call, and a thousand calls at once."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time

import harness
import httpx2
import venvs
from book import Book
from harness import Api

from kvern.client import AsyncCogniteClient, ClientConfig, CogniteClient
from kvern.client.credentials import OAuthClientCredentials

IMPORTS = 7
ROUNDS = 300
AT_ONCE = 1000
QUOTAS = ("--max-calls", "2000", "--max-function-calls", "2000")


def imported(python: str, module: str) -> float:
    """Seconds that `-X importtime` gives for a module, the best of some runs."""
    took: list[float] = []
    for _ in range(IMPORTS):
        done = subprocess.run(
            [python, "-X", "importtime", "-c", f"import {module}"], capture_output=True, text=True, check=True
        )
        # `import a.b` has a line for `a` and one for `a.b`, neither within the other.
        lines = re.findall(r"^import time:\s+\d+ \|\s+(\d+) \| (\S+)$", done.stderr, re.MULTILINE)
        parts = {module, module.partition(".")[0]}
        took.append(sum(int(micros) for micros, name in lines if name in parts) / 1e6)
    return min(took)


def config(env: dict[str, str]) -> ClientConfig:
    credentials = OAuthClientCredentials(
        env["IDP_TOKEN_URL"], env["IDP_CLIENT_ID"], env["IDP_CLIENT_SECRET"], env["IDP_SCOPES"].split()
    )
    return ClientConfig("bench", env["CDF_PROJECT"], credentials, base_url=env["CDF_URL"])


def calls_one_by_one(env: dict[str, str], function_id: int, url: str, token: str) -> dict[str, list[float]]:
    """Seconds of each call: bare, and through the SDK; one of each in turn, so that both see the same machine."""
    client = CogniteClient(config(env))
    took: dict[str, list[float]] = {"POST call, bare HTTP": [], "kvern.client call(wait=True)": []}
    with httpx2.Client(headers={"authorization": f"Bearer {token}"}) as bare:
        for number in range(ROUNDS + 20):
            start = time.perf_counter()
            status = bare.post(url, json={"data": {"a": 1}}).json()["status"]
            middle = time.perf_counter()
            call = client.functions.call(id=function_id, data={"a": 1})
            end = time.perf_counter()
            if [status, call.status] != ["Completed", "Completed"]:
                raise SystemExit(f"calls ended as {status} and {call.status}")
            if number >= 20:
                took["POST call, bare HTTP"].append(middle - start)
                took["kvern.client call(wait=True)"].append(end - middle)
    return took


async def calls_at_once(env: dict[str, str], function_id: int) -> tuple[int, float]:
    """How many of a thousand calls, made at once, completed; and the seconds that it took."""
    client = AsyncCogniteClient(config(env))
    start = time.perf_counter()
    made = await asyncio.gather(
        *(client.functions.call(id=function_id, data={"n": n}) for n in range(AT_ONCE)), return_exceptions=True
    )
    whole = time.perf_counter() - start
    for error in made:
        if isinstance(error, BaseException):
            raise error
    return sum(1 for call in made if not isinstance(call, BaseException) and call.status == "Completed"), whole


def main(book: Book) -> None:
    book.begin("client", f"Kvern's own SDK; imports by -X importtime, the best of {IMPORTS}")
    official = imported(str(venvs.python("sdk")), "cognite.client")
    book.value("import cognite.client", official * 1e3, "ms")
    book.value("import kvern.client", imported(sys.executable, "kvern.client") * 1e3, "ms", official * 1e3)
    with harness.served(*QUOTAS) as server:
        api = Api(server)
        function = api.deploy(harness.ECHO)
        book.head()
        took = calls_one_by_one(server.env, function.id, f"{function.url}/call", api.token)
        (first, bare), (name, ours) = took.items()
        book.times(name, ours, base=book.times(first, bare))
        completed, whole = asyncio.run(calls_at_once(server.env, function.id))
        book.value(f"{AT_ONCE} call coroutines at once: {completed} Completed", whole, "s")
