"""The entry file: found by `functionPath`, and parsed under the function's own interpreter."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvern.build.errors import EntryPointError
from kvern.build.handler import check, locate
from kvern.build.interpreters import Interpreters
from kvern.build.parsers import Parsers
from kvern.build.revision import Interpreter
from kvern.sandbox.plain import Plain


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "src" / "deep").mkdir(parents=True)
    for name in ("handler.py", "src/handler.py", "src/deep/my-entry.py", "notes.txt"):
        (tmp_path / name).write_text("def handle(data): return data\n")
    (tmp_path / "folder.py").mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def interpreters() -> dict[str, Interpreter]:
    return Interpreters().all()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("handler.py", "handler.py"),
        ("./handler.py", "handler.py"),
        ("././src/./handler.py", "src/handler.py"),
        ("src//handler.py", "src/handler.py"),
        ("src/deep/my-entry.py", "src/deep/my-entry.py"),
    ],
)
def test_a_path_within_the_zip(code: Path, given: str, found: str) -> None:
    assert locate(code, given) == found


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("/handler.py", "is absolute"),
        ("../handler.py", "has '..'"),
        ("src/../handler.py", "has '..'"),
        ("src\\handler.py", "has a backslash"),
        ("notes.txt", "does not end in .py"),
        ("handler", "does not end in .py"),
        ("handler.py/", "does not end in .py"),
        ("", "does not end in .py"),
        (".py", "does not end in .py"),
        ("handler.py\x00.txt", "has a control character"),
        ("main.py", "No Python module found at 'main.py' in the zip"),
        ("handler.PY", "does not end in .py"),
        ("folder.py", "No Python module found at 'folder.py' in the zip"),
        ("handler.py/x.py", "No Python module found"),
    ],
)
def test_paths_that_are_refused(code: Path, given: str, reason: str) -> None:
    with pytest.raises(EntryPointError) as caught:
        locate(code, given)
    assert reason in caught.value.message


def test_the_message_lists_what_is_there(code: Path) -> None:
    with pytest.raises(EntryPointError, match=r"there is: folder\.py/, handler\.py, notes\.txt, src/\."):
        locate(code, "main.py")


def test_the_message_says_when_the_code_lies_in_a_top_folder(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "handler.py").touch()
    with pytest.raises(EntryPointError, match="zip what is in 'project/', not the folder itself"):
        locate(tmp_path, "handler.py")


def test_the_message_says_when_the_zip_is_empty(tmp_path: Path) -> None:
    with pytest.raises(EntryPointError, match="The zip is empty"):
        locate(tmp_path, "handler.py")


async def test_a_good_handler_passes(code: Path, interpreters: dict[str, Interpreter]) -> None:
    await check(code, "src/deep/my-entry.py", next(iter(interpreters.values())), Parsers(Plain()))


async def test_nothing_is_imported_or_run(code: Path, interpreters: dict[str, Interpreter]) -> None:
    (code / "handler.py").write_text("open('ran', 'w')\nimport nowhere\ndef handle(data): pass\n")
    await check(code, "handler.py", next(iter(interpreters.values())), Parsers(Plain()))
    assert not (code / "ran").exists()


async def test_a_fault_is_one_sentence(code: Path, interpreters: dict[str, Interpreter]) -> None:
    (code / "handler.py").write_text("def handle(event): pass\n")
    with pytest.raises(EntryPointError) as caught:
        await check(code, "handler.py", next(iter(interpreters.values())), Parsers(Plain()))
    assert caught.value.message == (
        "handler.py, line 1: `handle` takes `event`; it may only take client, data, secrets, function_call_info."
    )


async def test_syntax_is_that_of_the_functions_interpreter(code: Path, interpreters: dict[str, Interpreter]) -> None:
    """`except*` came with 3.11: a server of any version must judge it by the runtime asked for."""
    (code / "handler.py").write_text("try:\n    pass\nexcept* ValueError:\n    pass\ndef handle(data): pass\n")
    for runtime, interpreter in interpreters.items():
        if runtime == "py310":
            with pytest.raises(EntryPointError, match=r"Syntax error in handler\.py, line 3"):
                await check(code, "handler.py", interpreter, Parsers(Plain()))
        else:
            await check(code, "handler.py", interpreter, Parsers(Plain()))


async def test_modules_of_the_bundle_cannot_stand_in_for_the_parsers(
    code: Path, interpreters: dict[str, Interpreter]
) -> None:
    for name in ("ast.py", "json.py", "pathlib.py"):
        (code / name).write_text("raise SystemExit(3)")
    await check(code, "handler.py", next(iter(interpreters.values())), Parsers(Plain()))


async def test_a_huge_entry_file_is_not_parsed(code: Path, interpreters: dict[str, Interpreter]) -> None:
    with (code / "handler.py").open("wb") as file:
        file.truncate(5_000_001)
    with pytest.raises(EntryPointError, match="at most 5000000 are allowed"):
        await check(code, "handler.py", next(iter(interpreters.values())), Parsers(Plain()))
