"""What the documentation shows is what the command takes."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from kvern.cli.app import VERBS, app

ROOT = Path(__file__).parents[3]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
HERE_DOCUMENT = re.compile(r"<<'END'\n.*?^END$", re.MULTILINE | re.DOTALL)


def blocks(*languages: str) -> list[tuple[str, str]]:
    return [
        (page.name, text)
        for page in PAGES
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8"))
        if language in languages
    ]


def commands(script: str) -> list[list[str]]:
    """The command lines of a shell script, cut at pipes and redirections, without what stands in here documents."""
    found: list[list[str]] = []
    plain = HERE_DOCUMENT.sub("", script)
    for line in [*plain.splitlines(), *re.findall(r"\$\(([^)]*)\)", plain)]:
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if set(word) <= set(";|&<>()"):
                found.append(command)
                command = []
            else:
                command.append(word)
    return [command for command in found if command]


def examples_in_help() -> list[tuple[str, str]]:
    """The indented lines above the arguments in the docstrings from which the verbs' help is made."""
    found: list[tuple[str, str]] = []
    for path in sorted((ROOT / "src" / "kvern" / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                lines = (ast.get_docstring(node) or "").partition("\nArgs:")[0].splitlines()
                found += [(f"cli/{path.name}", line.strip()) for line in lines if line.startswith("    ")]
    return found


def shown() -> list[tuple[str, list[str]]]:
    texts = blocks("bash", "console") + examples_in_help()
    return [
        (where, command[1:])
        for where, text in texts
        for command in commands(text)
        if command[0] in ("kvern", ".venv/bin/kvern")
    ]


@pytest.mark.parametrize(("where", "arguments"), shown())
def test_a_command_line_that_is_shown_is_understood(where: str, arguments: list[str]) -> None:
    app.parse_args(arguments, exit_on_error=False, print_error=False)


def test_every_verb_is_in_the_documentation_and_has_an_example_in_its_help() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    exemplified = {arguments[0] for where, arguments in shown() if where.startswith("cli/")}
    for verb in [verb for verbs in VERBS.values() for verb in verbs]:
        assert f"`kvern {verb}" in page
        assert verb in exemplified


@pytest.mark.parametrize(("page", "source"), blocks("python"))
def test_python_that_is_shown_is_python(page: str, source: str) -> None:
    ast.parse(source)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
