"""What counts as a `handle`, told from the source alone (contract 11.2, 11.3)."""

from __future__ import annotations

import textwrap

import pytest

from kvern.build.boxed.entry_point import fault


def check(source: str) -> str:
    return fault(textwrap.dedent(source).encode(), "handler.py")


@pytest.mark.parametrize(
    "source",
    [
        "def handle(): pass",
        "def handle(data): pass",
        "def handle(client, data, secrets, function_call_info): return {}",
        "def handle(data=None, secrets={}): pass",
        "def handle(*, client, data=None): pass",
        "def handle(data, **kwargs): pass",
        "def handle(client: CogniteClient, data: dict[str, Any]) -> dict: pass",
        "async def handle(data): pass",
        "@decorated\ndef handle(data): pass",
        "handle = lambda data: data",
        "handle = make_handle()",
        "handle: Callable[..., dict] = make_handle()",
        "handle = other = make_handle()",
        "run, handle = make_both()",
        "[run, *handle] = make_all()",
        "(handle := make_handle())",
        "from app import handle",
        "from app import main as handle",
        "from app import *",
        "class handle:\n    def __call__(self, data): pass",
        "if True:\n    def handle(data): pass",
        "if FLAG:\n    pass\nelse:\n    def handle(data): pass",
        "try:\n    from fast import handle\nexcept ImportError:\n    def handle(data): pass",
        "try:\n    pass\nfinally:\n    def handle(data): pass",
        "with open('x') as f:\n    def handle(data): pass",
        "for _ in range(1):\n    def handle(data): pass",
        "match VERSION:\n    case 1:\n        def handle(data): pass",
        "def handle(wrong): pass\ndef handle(data): pass",
        "handle = None\ndef handle(data): pass",
    ],
)
def test_a_handle(source: str) -> None:
    assert check(source) == ""


@pytest.mark.parametrize(
    "source",
    [
        "",
        "x = 1",
        "def main(data): pass",
        "Handle = 1",
        "handle: Callable",
        "class App:\n    def handle(self, data): pass",
        "def outer():\n    def handle(data): pass",
        "def handle(data): pass\ndel handle",
        "'''\ndef handle(data): pass\n'''",
        "# def handle(data): pass",
        "from handle import main",
        "handle.attribute = 1",
    ],
)
def test_no_handle(source: str) -> None:
    assert check(source) == "handler.py has no `handle` at module level; the entry file must define it"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def handle(event): pass", "line 1: `handle` takes `event`; it may only take client, data, secrets, function"),
        ("def handle(data, context=None): pass", "takes `context`"),
        ("def handle(*, date): pass", "takes `date`"),
        ("handle = lambda d: d", "takes `d`"),
        ("def handle(data, /): pass", "takes `data` by position only, but is called with keywords; remove the `/`"),
        ("def handle(*args): pass", "takes `*args`, but is called with keywords"),
        ("def handle(data): pass\n\ndef handle(event): pass", "line 3: `handle` takes `event`"),
        ("if X:\n    def handle(data): pass\nelse:\n    def handle(event): pass", "line 4: `handle` takes `event`"),
        ("@wrapped\ndef handle(event): pass", "takes `event`"),
        ("import handle", "is a module"),
        ("import app as handle", "is a module"),
        ("import handle.inner", "is a module"),
        ("handle = 5", "is a plain value"),
        ("handle: dict = {}", "is a plain value"),
        ("def handle(data): pass\nhandle = None", "line 2: `handle` is a plain value"),
    ],
)
def test_a_handle_that_cannot_be_called(source: str, reason: str) -> None:
    assert reason in check(source)


def test_a_syntax_error_is_shown_with_its_line() -> None:
    assert check("x = 1\ndef handle(data:\n    return 1\n").startswith(
        "Syntax error in handler.py, line 2: '(' was never"
    )
    assert check("def handle(data):\n    retrun 1\n").endswith(": retrun 1")


@pytest.mark.parametrize(
    "source",
    [
        b"\xef\xbb\xbfdef handle(data): pass",
        b"# -*- coding: latin-1 -*-\nname = '\xe5'\ndef handle(data): pass",
        "name = 'måling'\ndef handle(data): pass".encode(),
        b"def handle(data):\r\n    pass\r\n",
    ],
)
def test_encodings_that_python_reads(source: bytes) -> None:
    assert fault(source, "handler.py") == ""


@pytest.mark.parametrize(
    "source",
    [
        b"name = '\xe5'\ndef handle(data): pass",
        b"# coding: klingon\ndef handle(data): pass",
        b"def handle(data): pass\n\x00",
        b"\xef\xbb\xbf# coding: latin-1\ndef handle(data): pass",
    ],
)
def test_encodings_that_python_does_not_read(source: bytes) -> None:
    assert fault(source, "handler.py").startswith("Syntax error in handler.py")


def test_a_source_nested_too_deeply() -> None:
    assert fault(b"x = " + b"(" * 5000 + b")" * 5000, "handler.py").startswith("Syntax error in handler.py")
