from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kvern.runner import source as source_module
from kvern.runner.handler import ARGUMENTS, Handler, NotLoaded, arguments_of, load


@pytest.fixture(autouse=True)
def clean_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    modules = set(sys.modules)
    for name in ("path", "path_hooks", "meta_path", "argv"):
        monkeypatch.setattr(sys, name, list(getattr(sys, name)))
    monkeypatch.setenv(source_module.CODE, "")
    monkeypatch.setenv(source_module.ENTRY, "")
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Handler]:
    def make(source: str, entry: str = "handler.py") -> Handler:
        path = tmp_path / entry
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        source_module.follow(str(tmp_path), {})
        return load(str(tmp_path), entry, 1, "{}")

    return make


class App:
    def __call__(self, data: Any, secrets: Any) -> None: ...


@pytest.mark.parametrize(
    ("handle", "takes"),
    [
        (lambda: 0, []),
        (lambda data: 0, ["data"]),
        (lambda *args, data: 0, ["data"]),
        (lambda **kwargs: 0, ARGUMENTS),
        (lambda data=1, other=2: 0, ["data"]),
        (lambda other=2, /, secrets=None: 0, ["secrets"]),
        (App(), ["data", "secrets"]),
        (functools.partial(lambda x, data: 0, 1), ["data"]),
    ],
)
def test_handle_is_given_what_it_takes(handle: Callable[..., Any], takes: list[str]) -> None:
    assert arguments_of(handle) == set(takes)


@pytest.mark.parametrize(
    ("handle", "words"),
    [
        (lambda event, context: 0, "'event'.*client, data, secrets, function_call_info"),
        (lambda *, x: 0, "'x'"),
        (lambda data, /: 0, "'data' by position only"),
        (type, "'handle'"),
    ],
)
def test_a_handle_that_cannot_be_called_is_refused(handle: Callable[..., Any], words: str) -> None:
    with pytest.raises(NotLoaded, match=words):
        arguments_of(handle)


def test_only_annotations_of_the_top_level_handle_become_text(tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text("""
class A:
    def handle(self, x: int): ...
def handle(client: Missing[int], data: "already" = 1, *args: A.b, secrets: lambda: 1 = 2, **kwargs: 3) -> A | None:
    def handle(x: int): ...
    return handle
""")
    path = tmp_path / "handler.py"
    code = source_module.compile_entry(path.read_bytes(), str(path))
    space: dict[str, Any] = {}
    exec(code, space)
    assert space["handle"].__annotations__ == {
        "client": "Missing[int]",
        "data": "already",
        "args": "A.b",
        "secrets": "lambda: 1",
        "kwargs": "3",
        "return": "A | None",
    }
    assert space["handle"](1).__annotations__ == {"x": int}
    assert space["A"].handle.__annotations__ == {"x": int}


def test_line_numbers_stay(loaded: Callable[..., Handler]) -> None:
    handler = loaded("\n\ndef handle(\n    data: Missing,\n):\n    raise ValueError\n")
    assert handler.handle.__code__.co_firstlineno == 3
    with pytest.raises(ValueError) as failure:
        handler.handle(1)
    assert failure.traceback[-1].lineno + 1 == 6


def test_a_cached_copy_is_not_used(loaded: Callable[..., Handler], tmp_path: Path) -> None:
    import py_compile

    (tmp_path / "handler.py").write_text("def handle(): return 'cached'")
    py_compile.compile(str(tmp_path / "handler.py"), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert loaded("def handle(): return 'source'").handle() == "source"


def test_source_may_declare_its_encoding(tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_bytes("# -*- coding: latin-1 -*-\ndef handle(): return 'ø'".encode("latin-1"))
    assert load(str(tmp_path), "handler.py", 1, "{}").handle() == "ø"


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("handler.py", "handler"),
        ("deep/er/handler.py", "deep.er.handler"),
        ("json.py", "kvern_json"),
        ("asyncio/handler.py", "kvern_asyncio.handler"),
        ("my-function/handler.py", "my-function.handler"),
        ("my.function/v1.2.py", "kvern_my/function.v1/2"),
    ],
)
def test_the_module_has_the_name_of_its_file_unless_that_hides_another(
    loaded: Callable[..., Handler], entry: str, name: str
) -> None:
    handler = loaded("def handle(): ...", entry)
    assert handler.handle.__module__ == name
    assert sys.modules[name].handle is handler.handle


def test_a_syntax_error_names_file_and_line(loaded: Callable[..., Handler]) -> None:
    with pytest.raises(NotLoaded) as failure:
        loaded("x = 1\ndef handle(:\n")
    assert failure.value.message.startswith("SyntaxError: ")
    assert "handler.py" in failure.value.trace
    assert "line 2" in failure.value.trace
