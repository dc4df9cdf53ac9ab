"""Which of a bundle's files says what it needs, and what is told of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvern.build.declared import read
from kvern.build.errors import RequirementsError

SCRIPT = "# /// script\n# {}\n# dependencies = [\n#   'six>=1',\n# ]\n# ///\ndef handle(): ...\n"
PROJECT = "[project]\nname = 'x'\n{}\ndependencies = [\n  'six>=1',\n]\n"
LOCK = """lock-version = '1.0'
created-by = 'test'
{}
[[packages]]
name = 'six'
version = '1.17.0'
[[packages.wheels]]
name = 'six-1.17.0-py2.py3-none-any.whl'
url = 'https://files.example/six-1.17.0-py2.py3-none-any.whl'
hashes = {{ sha256 = 'ab' }}
"""

OLD = """[[packages]]
name = 'old'
version = '1'
marker = "python_version < '3'"
[[packages.wheels]]
name = 'old-1-py3-none-any.whl'
url = 'https://files.example/old-1-py3-none-any.whl'
hashes = { sha256 = 'ab' }
"""


def lay(folder: Path, files: dict[str, str]) -> Path:
    for name, text in {"handler.py": "def handle(): ...\n", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def found(folder: Path, **files: str) -> tuple[list[str], str]:
    made = read(lay(folder, dict(files)), "handler.py", "3.12.4")
    return made.lines, " ".join(made.notes)


SOURCES = {
    "requirements.txt": ("six<9\n", "six<9"),
    "pylock.toml": (LOCK.format(""), "six==1.17.0"),
    "handler.py": (SCRIPT.format(""), "six>=1"),
    "pyproject.toml": (PROJECT.format(""), "six>=1"),
}


@pytest.mark.parametrize("first", range(len(SOURCES)))
def test_the_first_that_is_there_decides_alone(tmp_path: Path, first: int) -> None:
    there = dict(list(SOURCES.items())[first:])
    lines, notes = found(tmp_path, **{name: text for name, (text, _) in there.items()})
    name, (_, line) = next(iter(there.items()))
    assert lines == [line, "cognite-sdk"]
    assert name == "requirements.txt" or f"read from {name}" in notes


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("uv.lock", "", "uv.lock is not read"),
        ("poetry.lock", "", "poetry.lock is not read"),
        ("Requirements.txt", "six", "Requirements.txt is not read"),
        ("src/requirements.txt", "six", "src/requirements.txt is not read"),
        ("pyproject.toml", "[tool.poetry.dependencies]\nsix = '*'\n", "for Poetry alone"),
        ("pyproject.toml", "[project]\ndynamic = ['dependencies']\n", "dynamic"),
        ("pyproject.toml", "[tool.ruff]\n", ""),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, name: str, text: str, told: str) -> None:
    lines, notes = found(tmp_path, **{name: text})
    assert lines == ["cognite-sdk"]
    assert told in notes


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("pyproject.toml", PROJECT.format("").replace("six>=1", "six>=>1"), "pyproject.toml, line 5: "),
        ("pyproject.toml", PROJECT.format("requires-python = '>=3.13'"), "pyproject.toml, line 3: it needs Python"),
        ("pyproject.toml", "[project\n", "pyproject.toml cannot be read as TOML"),
        ("pyproject.toml", "a." * 300_000 + "b = 1", "takes too long"),
        ("pyproject.toml", "a = " + "[" * 100_000, "pyproject.toml"),
        ("handler.py", SCRIPT.format("").replace("six>=1", "file:///etc/x.whl"), "handler.py, line 4: "),
        ("handler.py", SCRIPT.format("requires-python = '<3'"), "handler.py, line 2: it needs Python"),
        ("handler.py", SCRIPT.format("") * 2, "handler.py, line 8: there is a second"),
        ("handler.py", SCRIPT.format("= ="), "at line 2"),
        ("pylock.toml", LOCK.format("requires-python = '>=3.13'"), "pylock.toml: it needs Python"),
        ("pylock.toml", "lock-version = '2.0'\ncreated-by = 'x'\npackages = []\n", "pylock.toml: "),
        ("pylock.toml", "packages = 1\n", "no lock as PEP 751 has it"),
        (
            "pyproject.toml",
            PROJECT.format("") + "[tool.uv.sources]\nsix = { index = 'own' }\n",
            "line 8: tool.uv.sources",
        ),
    ],
)
def test_an_error_names_the_users_file_and_line(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(RequirementsError) as caught:
        found(tmp_path, **{name: text})
    assert told in caught.value.message


def test_a_lock_gives_versions_hashes_and_markers(tmp_path: Path) -> None:
    text = LOCK.format("") + OLD
    made = read(lay(tmp_path, {"pylock.toml": text}), "handler.py", "3.12.4")
    assert made.lines == ["six==1.17.0", "cognite-sdk"]
    assert made.hashes == {"six": {"sha256:ab"}}
