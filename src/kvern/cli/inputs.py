"""What a user types, turned into what the API takes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from kvern.cli.complaint import Complaint


def pairs(words: Iterable[str], option: str) -> dict[str, str]:
    """`KEY=VALUE` words as a map.

    Args:
        words: the values of an option that may be given again and again.
        option: its name, for the error.

    Raises:
        Complaint: for a word without `=` or without a key. The error does not show the word: it may be a secret.
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise Complaint(f"{option} takes KEY=VALUE, and one of them is not", exit_code=2)
        found[key] = value
    return found


def secret_file(path: Path) -> dict[str, str]:
    """Secrets from a file: a JSON object of strings, or a line `KEY=VALUE` each; `-` is standard input.

    Blank lines and lines that begin with `#` are left out.

    Raises:
        Complaint: when the file is neither. The error shows nothing of what is in it.
    """
    text = _read(path)
    if text.lstrip().startswith("{"):
        try:
            found: object = json.loads(text)
        except ValueError:
            raise Complaint(f"--secret-file {path} begins like JSON and is not", exit_code=2) from None
        values = cast("dict[str, object]", found)
        if any(not isinstance(value, str) for value in values.values()):
            raise Complaint(f"--secret-file {path} holds a value that is no text", exit_code=2)
        return cast("dict[str, str]", values)
    lines = (line.strip() for line in text.splitlines())
    return pairs((line for line in lines if line and not line.startswith("#")), f"--secret-file {path}")


def data(word: str | None) -> object:
    """The input of a call: JSON text, `@FILE` with JSON in it, or `-` for standard input; `{}` when not given.

    Raises:
        Complaint: when it is not JSON; the error says where.
    """
    if word is None:
        return {}
    source, text = "--data", word
    if word == "-" or word.startswith("@"):
        source = word.removeprefix("@")
        text = _read(Path(source))
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        hint = "" if source != "--data" else """ (a word of JSON needs quotes: --data '{"key": "value"}')"""
        raise Complaint(f"{source} is not JSON: {error}{hint}", exit_code=2) from None


def _read(path: Path) -> str:
    return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
