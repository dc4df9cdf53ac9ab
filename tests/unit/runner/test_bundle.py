from __future__ import annotations

import ast
import marshal
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from kvern.runner import bundle, source


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    return folder


def write(code: Path, **files: str) -> None:
    for name, text in files.items():
        path = code / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(text: str, *package: str) -> list[str]:
    return list(bundle.imported(ast.parse(text), list(package)))


def test_every_import_is_found_wherever_it_stands() -> None:
    text = """
import a, b.c as d
from e import f, g
def handle(data):
    import h
    try:
        from i.j import *
    except ImportError:
        import k
class C:
    def m(self): import l
"""
    assert names(text) == ["a", "b.c", "e", "e.f", "e.g", "h", "i.j", "k", "l"]


def test_what_only_type_checkers_import_is_not_found() -> None:
    text = "import typing\nif typing.TYPE_CHECKING:\n    import a\nelse:\n    import b\nif TYPE_CHECKING: import c"
    assert names(text) == ["typing", "b"]


def test_relative_imports_are_made_absolute() -> None:
    assert names("from . import a\nfrom .b import c\nfrom ..d import e", "x", "y") == [
        "x.y", "x.y.a", "x.y.b", "x.y.b.c", "x.d", "x.d.e",
    ]  # fmt: skip
    assert names("from . import a") == ["a"]


@pytest.mark.parametrize(
    ("handle", "takes"),
    [
        ("def handle(client, data): ...", True),
        ("async def handle(*, client: CogniteClient): ...", True),
        ("def handle(**kwargs): ...", True),
        ("def handle(data): ...", False),
        ("def other(client): ...", False),
        ("handle = print", False),
    ],
)
def test_whether_handle_takes_the_client_is_seen(handle: str, takes: bool) -> None:
    assert bundle.takes_client(ast.parse(handle)) is takes


def test_modules_of_the_bundle_are_followed_and_not_named(code: Path) -> None:
    write(
        code, handler="import one, lib.two\ndef handle(client): ...", one="import json, three", lib__two="import four"
    )
    write(code, three="import one\nfrom lib import five", lib__five="import six", unreached="import seven")
    made = bundle.survey(str(code), "handler.py")
    assert made.modules == ["cognite.client", "cognite.client.credentials", "json", "four", "six"]
    assert {Path(path).name for path in made.codes} == {"handler.py", "one.py", "two.py", "three.py", "five.py"}


def test_an_entry_file_in_a_folder_and_packages_with_init(code: Path) -> None:
    write(
        code, functions__handler="import shared.tools", shared____init__="import numpy", shared__tools="from . import x"
    )
    (code / "shared" / "__init__.py").write_text("import numpy")
    made = bundle.survey(str(code), "functions/handler.py")
    assert made.modules == ["numpy"]


def test_what_cannot_be_read_is_left_out(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(code, handler="import broken, big, good", broken="def (", big="x = 1\n" * 1000, good="import json")
    monkeypatch.setattr(bundle, "SIZE_MOST", 1000)
    made = bundle.survey(str(code), "handler.py")
    assert made.modules == ["json"]
    assert not any("b" in Path(path).name[:1] for path in made.codes)
    assert bundle.survey(str(code), "missing.py").modules == []


def test_kept_code_is_what_a_module_is_loaded_from(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(code, kvern_kept="N = 'from the source'", kvern_unkept="N = 'from the source'")
    path = str(code / "kvern_kept.py")
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    monkeypatch.setattr(sys, "path", [str(code), *sys.path])
    monkeypatch.setattr(source.BundleSource, "codes", {})
    source.follow(str(code), {path: marshal.dumps(compile("N = 'kept'", path, "exec"))})
    kept: Any = __import__("kvern_kept")
    unkept: Any = __import__("kvern_unkept")
    assert isinstance(kept, types.ModuleType)
    assert (kept.N, unkept.N) == ("kept", "from the source")
    assert kept.__file__ == path
    assert not (code / "__pycache__").exists() or not list((code / "__pycache__").glob("kvern_kept*"))


def test_the_kept_code_of_the_entry_file_has_its_annotations_as_text(code: Path) -> None:
    write(code, handler="def handle(data: Missing): ...")
    made = bundle.survey(str(code), "handler.py")
    scope: dict[str, Any] = {}
    exec(marshal.loads(made.codes[str(code / "handler.py")]), scope)
    assert scope["handle"].__annotations__ == {"data": "Missing"}


def test_the_names_that_a_bundle_takes_for_itself(code: Path) -> None:
    write(code, handler="", lib__x="")
    assert bundle.top_names(str(code)) == {"handler", "lib"}
    assert bundle.top_names(str(code / "missing")) == set()
