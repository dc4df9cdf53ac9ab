"""Code of a user, run in an environment that has the official SDK and nothing of Kvern."""

from __future__ import annotations

import json
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

_LOOP = """
import functools, inspect, json, linecache, os, sys, traceback, asyncio
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

used = []

def watch(kind, prefix, mark=""):
    # Notes what user code calls itself, and not what the SDK calls below it.
    names = []
    for name, method in list(vars(kind).items()):
        if not inspect.isfunction(method) or (name.startswith("_") and name != "__call__") or name == "as_write":
            continue
        label = mark + (f"{prefix}()" if name == "__call__" else f"{prefix}.{name}")
        names.append(label)
        def noting(*args, _method=method, _label=label, **kwargs):
            if sys._getframe(1).f_code.co_filename.startswith("<user code"):
                used.append(_label)
            return _method(*args, **kwargs)
        setattr(kind, name, functools.wraps(method)(noting))
    return names

def surface(client, mark=""):
    watch(type(client.files), "client.files", mark)
    watch(type(client.iam.sessions), "client.iam.sessions", mark)
    watch(type(client.iam.token), "client.iam.token", mark)
    every = watch(type(client.functions), "client.functions", mark)
    every += watch(type(client.functions.calls), "client.functions.calls", mark)
    return every + watch(type(client.functions.schedules), "client.functions.schedules", mark)

from cognite.client.data_classes import functions as data
client = CogniteClient(config())
every = surface(client)
for name in ("Function", "FunctionCall", "FunctionSchedule", "FunctionCallLog"):
    every += [method for method in watch(getattr(data, name), name) if not method.endswith("_async")]
if AsyncCogniteClient is not None:
    surface(AsyncCogniteClient(config()), "async ")
print(json.dumps(every), file=answers, flush=True)
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
    answer["used"], used = sorted(set(used)), []
    print(json.dumps(answer, default=str), file=answers, flush=True)
"""


class Driver:
    """Runs snippets, one after the other, in one process of `python`.

    Args:
        python: the interpreter of an environment with the SDK.
        env: what `kvern env` prints.
        note: told of each method of the SDK that a snippet used.
    """

    def __init__(self, python: Path, env: dict[str, str], note: Callable[[str], None] = lambda method: None) -> None:
        self._note = note
        self._process = subprocess.Popen(
            [str(python), "-c", _LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**env, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        )
        assert self._process.stdout is not None
        self.surface: list[str] = json.loads(self._process.stdout.readline())
        """Every method of the SDK that has to do with functions."""

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
        for method in answer["used"]:
            self._note(method)
        assert "error" not in answer, answer["error"]
        return answer["result"]
