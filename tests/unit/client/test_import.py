"""The client is light: what importing it brings along, and that the synchronous API is current."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import kvern.client
from kvern.client import derive

HEAVY = [
    "asyncio",
    "cyclopts",
    "httpx2",
    "logging",
    "msgspec",
    "numpy",
    "pandas",
    "pydantic",
    "requests",
    "rich",
    "ssl",
    "subprocess",
    "typing_extensions",
    "yaml",
]


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout)) - {"json"}


def test_importing_the_client_brings_nothing_heavy_along() -> None:
    loaded = modules_after("from kvern.client import CogniteClient, AsyncCogniteClient, ClientConfig")
    assert loaded.isdisjoint(HEAVY), sorted(loaded.intersection(HEAVY))


def test_making_a_client_brings_nothing_heavy_along() -> None:
    loaded = modules_after(
        "from kvern.client import CogniteClient, ClientConfig\n"
        "from kvern.client.credentials import Token\n"
        "CogniteClient(ClientConfig('n', 'p', Token('x'), base_url='http://localhost'))"
    )
    assert loaded.isdisjoint(HEAVY), sorted(loaded.intersection(HEAVY))


def test_the_client_needs_nothing_else_of_kvern() -> None:
    loaded = {name for name in modules_after("import kvern.client") if name.startswith("kvern.")}
    assert all(name.startswith("kvern.client") for name in loaded)


def test_the_synchronous_api_is_current() -> None:
    assert derive.main(check=True) == 0


def test_everything_public_tells_what_it_is_for() -> None:
    untold: list[str] = []
    for info in pkgutil.walk_packages(kvern.client.__path__, "kvern.client."):
        module = importlib.import_module(info.name)
        untold += [] if module.__doc__ else [info.name]
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != info.name:
                continue
            untold += [] if inspect.getdoc(thing) else [f"{info.name}.{name}"]
            for method, function in vars(thing).items() if inspect.isclass(thing) else ():
                if inspect.isfunction(function) and not method.startswith("_") and not function.__doc__:
                    untold.append(f"{info.name}.{name}.{method}")
    assert untold == []
