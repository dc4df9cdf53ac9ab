"""Whether code can work as a function, before anything is uploaded."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath

import pytest

from kvern.client import handlers


def written(folder: Path, source: str, name: str = "handler.py") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(source)
    return folder


@pytest.mark.parametrize(
    "source",
    [
        "def handle(data): ...",
        "def handle(*, client, data, secrets, function_call_info): ...",
        "def handle(): ...",
        "from x import y\nhandle = y",
        "handle: object = lambda data: data",
        "def handle(wrong): ...\n\ndef handle(data): ...",
        "def handle(wrong): ...\nhandle = print",
    ],
)
def test_what_can_work(tmp_path: Path, source: str) -> None:
    handlers.check_file(written(tmp_path, source), "handler.py")


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("", "must define a function named 'handle'"),
        ("def Handle(data): ...", "must define a function named 'handle'"),
        ("class A:\n    def handle(self): ...", "must define a function named 'handle'"),
        ("handle: object", "must define a function named 'handle'"),
        ("a, handle = 1, 2", "must define a function named 'handle'"),
        ("def handle(data, extra): ...", "it takes extra"),
        ("def handle(data, *, more): ...", "it takes more"),
        ("async def handle(data): ...", "async def"),
        ("def handle(data:", "no valid Python: .* \\(line 1\\)"),
    ],
)
def test_what_cannot_work_is_told(tmp_path: Path, source: str, complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        handlers.check_file(written(tmp_path, source), "handler.py")


@pytest.mark.parametrize(
    ("path", "raised", "complaint"),
    [
        ("handler.txt", TypeError, "Python file"),
        ("missing.py", FileNotFoundError, "missing.py"),
        ("src\\handler.py", FileNotFoundError, "'/' instead of"),
        ("/etc/handler.py", ValueError, "relative to the folder"),
        ("../handler.py", ValueError, "inside of it"),
        ("src/../../handler.py", ValueError, "inside of it"),
    ],
)
def test_paths_that_cannot_work_are_told(tmp_path: Path, path: str, raised: type[Exception], complaint: str) -> None:
    written(tmp_path, "def handle(data): ...", "src/handler.py")
    with pytest.raises(raised, match=complaint):
        handlers.checked_path(tmp_path, path)


def test_a_path_may_begin_with_a_dot(tmp_path: Path) -> None:
    written(tmp_path, "def handle(data): ...", "src/handler.py")
    assert handlers.checked_path(tmp_path, "./src/handler.py") == PurePosixPath("src/handler.py")
    handlers.try_import(tmp_path, PurePosixPath("src/handler.py"))


class OwnError(LookupError):
    pass


@pytest.mark.parametrize(
    ("source", "raised", "text"),
    [
        ("import no_such_module", ModuleNotFoundError, "no_such_module"),
        ("from os import no_such_name", ImportError, "no_such_name"),
        ("1 / 0", ZeroDivisionError, "division by zero"),
        ("raise KeyError('k')", KeyError, "k"),
        ("class Own(LookupError): ...\nraise Own('mine')", LookupError, "Own: mine"),
        ("class Own(Exception): ...\nraise Own('mine')", RuntimeError, "Own: mine"),
        ("import sys\nsys.exit('bye')", RuntimeError, "SystemExit: bye"),
        ("b'x'.decode('utf-8', 'no such')\nraise UnicodeDecodeError('utf-8', b'', 0, 1, 'why')", RuntimeError, "why"),
        ("import os\nos._exit(3)", RuntimeError, "exit code 3"),
    ],
)
def test_what_an_import_raises_is_raised_here(tmp_path: Path, source: str, raised: type[Exception], text: str) -> None:
    written(tmp_path, source)
    with pytest.raises(raised, match=text) as caught:
        handlers.try_import(tmp_path, PurePosixPath("handler.py"))
    if raised is ModuleNotFoundError:
        assert caught.value.name == "no_such_module"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="errors take no notes there")
def test_where_an_import_failed_is_noted(tmp_path: Path) -> None:
    written(tmp_path, "x = 1\nraise ValueError('here')")
    with pytest.raises(ValueError, match="here") as caught:
        handlers.try_import(tmp_path, PurePosixPath("handler.py"))
    assert 'handler.py", line 2' in caught.value.__notes__[0]


def test_what_an_import_prints_does_no_harm(tmp_path: Path) -> None:
    handlers.try_import(written(tmp_path, "print('null')\nprint('{', end='')"), PurePosixPath("handler.py"))


def test_functions_are_checked_too() -> None:
    def handle(data, nonsense): ...
    def other(data): ...

    with pytest.raises(TypeError, match="it takes nonsense"):
        handlers.check_handle(handle)
    with pytest.raises(TypeError, match="named 'other'"):
        handlers.check_handle(other)

    class Callable:
        __name__ = "handle"

        def __call__(self, client=None, data=None): ...

    handlers.check_handle(Callable())
