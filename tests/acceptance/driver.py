"""Code of a user, run in an environment that has the official SDK and nothing of Kvern."""

from __future__ import annotations

import json
import subprocess
import textwrap
from pathlib import Path
from types import TracebackType
from typing import Any

_LOOP = """
import json, linecache, os, sys, traceback, asyncio
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
from cognite.client import ClientConfig, CogniteClient
try:
    from cognite.client import AsyncCogniteClient
except ImportError:
    AsyncCogniteClient = None
from cognite.client.credentials import OAuthClientCredentials

def config():
    e = os.environ
    credentials = OAuthClientCredentials(
        e["IDP_TOKEN_URL"], e["IDP_CLIENT_ID"], e["IDP_CLIENT_SECRET"], e["IDP_SCOPES"].split()
    )
    return ClientConfig("acceptance-test", e["CDF_PROJECT"], credentials, base_url=e["CDF_URL"])

client = CogniteClient(config())
for number, line in enumerate(sys.stdin):
    code = json.loads(line)
    name = f"<user code {number}>"
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    scope = {"__name__": "user_code", "client": client, "config": config, "asyncio": asyncio,
             "CogniteClient": CogniteClient, "AsyncCogniteClient": AsyncCogniteClient}
    try:
        exec(compile(code, name, "exec"), scope)
        answer = {"result": scope.get("result")}
    except BaseException:
        answer = {"error": traceback.format_exc()}
    print(json.dumps(answer, default=str), file=answers, flush=True)
"""


class Driver:
    """Runs snippets, one after the other, in one process of `python`."""

    def __init__(self, python: Path, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [str(python), "-c", _LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**env, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        )

    def __enter__(self) -> Driver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)

    def run(self, code: str) -> Any:
        """Run `code`, which finds `client` there; what it leaves in `result`, by way of JSON."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(textwrap.dedent(code)) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["result"]
