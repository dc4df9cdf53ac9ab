"""What a user types, turned into what the API takes."""

from __future__ import annotations

import codecs
import json
import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from kvern.cli.complaint import Complaint

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_EXPORT = re.compile(r"export\s+(?=[^\s=])")
_QUOTED = {
    "'": re.compile(r"'([^']*)'(?:\s*|\s+#.*)", re.DOTALL),
    '"': re.compile(r'"((?:[^"\\]|\\.)*)"(?:\s*|\s+#.*)', re.DOTALL),
}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_MEANT = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\", "$": "$", "`": "`"}


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

    Blank lines and lines that begin with `#` are left out; `export` before a key is passed over. A value in
    quotes is what stands between them, over several lines too; within double quotes `\\n`, `\\t`, `\\"`, `\\\\` and
    `\\$` mean what they mean elsewhere. A value without quotes is taken as it stands, to the end of its line.

    Raises:
        Complaint: when the file is neither. The error says where, and shows nothing of what is in it.
    """
    source = f"--secret-file {path}"
    text = read(path, source)
    if not text.lstrip().startswith("{"):
        return _variables(text, source)
    try:
        found: object = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{error.msg}: line {error.lineno} column {error.colno}"
        raise Complaint(f"{source} begins like JSON and is not: {where}", exit_code=2) from None
    except (ValueError, RecursionError):
        raise Complaint(f"{source} begins like JSON and is not", exit_code=2) from None
    values = cast("dict[str, object]", found)
    if any(not isinstance(value, str) for value in values.values()):
        raise Complaint(f"{source} holds a value that is no text", exit_code=2)
    return cast("dict[str, str]", values)


def _variables(text: str, source: str) -> dict[str, str]:
    found: dict[str, str] = {}
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        first = number = number + 1
        line = lines[first - 1].strip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = _EXPORT.sub("", line).partition("=")
        key, value = key.strip(), value.strip()
        if not equals or not key:
            raise Complaint(f"{source} takes KEY=VALUE, and line {first} is not", exit_code=2)
        quote = value[:1]
        if quote in ("'", '"'):
            pattern = _QUOTED[quote]
            while not (match := pattern.fullmatch(value)):
                if pattern.match(value):
                    raise Complaint(f"{source}: line {first} goes on behind the quote that ends its value", exit_code=2)
                if number == len(lines):
                    raise Complaint(f"{source}: the quote that line {first} begins is never closed", exit_code=2)
                value += f"\n{lines[number]}"
                number += 1
            value = match[1] if quote == "'" else _ESCAPE.sub(lambda found: _MEANT.get(found[1], found[0]), match[1])
        found[key] = value
    return found


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
        text = read(Path(source), source)
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise Complaint(f"{source} is nested too deep", exit_code=2) from None
    except ValueError as error:
        hint = "" if source != "--data" else """ (a word of JSON needs quotes: --data '{"key": "value"}')"""
        raise Complaint(f"{source} is not JSON: {error}{hint}", exit_code=2) from None


def read(path: Path, source: str) -> str:
    """The text of a file, or of standard input. Raises Complaint when it is none."""
    if str(path) == "-":
        buffer = getattr(sys.stdin, "buffer", None)
        content = sys.stdin.read().encode() if buffer is None else cast("bytes", buffer.read())
    else:
        content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise Complaint(
            f"{source} is not text in UTF-8 or UTF-16: byte {error.start + 1} is wrong", exit_code=2
        ) from None
    if "\0" in text:
        raise Complaint(f"{source} is not text in UTF-8, nor in UTF-16 with a byte order mark", exit_code=2)
    return text


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{word} is beyond the numbers that JSON readers take")
    return number


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
