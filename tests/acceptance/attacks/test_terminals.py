"""Functions whose output gives orders to the terminal of whoever looks at it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.server import KVERN, Server

ORDERS = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\u202e\x7f"
HANDLER = f"""
ORDERS = {ORDERS!r}

def handle(data):
    print("a line" + ORDERS)
    if data.get("raise"):
        raise ValueError("an error" + ORDERS)
    return {{"answer" + ORDERS: ORDERS}}
"""


class Shell:
    def __init__(self, folder: Path, data: Path) -> None:
        self._folder = folder
        self._env = {"PATH": os.environ["PATH"], "HOME": str(folder), "KVERN_DATA_DIR": str(data), "LANG": "C.UTF-8"}

    def __call__(self, *words: str) -> tuple[str, str]:
        done = subprocess.run([KVERN, *words], cwd=self._folder, env=self._env, capture_output=True, timeout=100)
        out, err = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in err or "ValueError: an error" in err, err
        return out, err


@pytest.fixture(scope="module")
def kvern(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("user")
    (folder / "orders").mkdir()
    (folder / "orders" / "handler.py").write_text(HANDLER)
    shell = Shell(folder, server.data)
    shell("deploy", "orders", "--description", f"described{ORDERS}\nstatus: fine", "--metadata", f"k={ORDERS}")
    yield shell
    shell("delete", "orders")


@pytest.fixture(scope="module")
def call_id(kvern: Shell) -> str:
    kvern("call", "orders", "--data", '{"raise": true}')
    return str(json.loads(kvern("calls", "orders", "--json")[0])[0]["id"])


VERBS = [
    ("call", "orders"),
    ("call", "orders", "--data", '{"raise": true}'),
    ("calls", "orders"),
    ("calls", "show", "ID"),
    ("logs", "ID"),
    ("logs", "ID", "--timestamps"),
    ("functions",),
    ("functions", "show", "orders"),
    ("functions", "log", "orders"),
    ("call", f"nobody{ORDERS}"),
    ("deploy", f"nowhere{ORDERS}"),
    ("logs", "--json", "ID"),
    ("call", "orders", "--json"),
    ("functions", "show", "orders", "--json"),
]


@pytest.mark.parametrize("words", VERBS, ids=lambda words: repr(" ".join(words))[1:-1])
def test_no_order_reaches_the_terminal(kvern: Shell, call_id: str, words: tuple[str, ...]) -> None:
    out, err = kvern(*(call_id if word == "ID" else word for word in words))
    assert out + err
    assert sorted({one for one in out + err if not one.isprintable() and one not in "\n\t"}) == []
    assert "\nstatus: fine" not in out


def test_json_is_exact(kvern: Shell, call_id: str) -> None:
    assert json.loads(kvern("call", "orders", "--json")[0])["response"] == {f"answer{ORDERS}": ORDERS}
    assert ORDERS.partition("\r")[0] in json.loads(kvern("calls", "show", call_id, "--json")[0])["error"]["message"]
