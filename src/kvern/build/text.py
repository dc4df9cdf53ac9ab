"""Text files that users sent, decoded by rules that no input can make slow."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from kvern.build.errors import RequirementsError

_CODING = re.compile(rb"^[ \t\f]*#.{0,200}?coding[:=][ \t]{0,20}([-\w.]{1,60})")
_FIRST = 1000
"""Bytes of each of the first two lines in which a coding line is looked for."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_KNOWN = re.compile(
    r"(utf_?8(_sig)?|u8|utf_?16(_?[lb]e)?|(us_)?ascii|latin_?1|l1|iso_?8859_1|(cp|windows_?)125[0-8])(_(unix|dos|mac))?"
)
"""Others are decoded by tables or by Python code, some in the square of the length, some never (`undefined`)."""


def read_text(path: Path, name: str, most: int) -> str:
    """The file's text: UTF-8, or what a byte order mark or a coding line says, as pip reads it.

    Args:
        path: a plain file.
        name: what it is called in messages.
        most: bytes that it may have.

    Raises:
        RequirementsError: it is larger, or not text of an encoding that is read: UTF-8, UTF-16, Latin-1, cp1250-1258.
    """
    size = path.stat().st_size
    if size > most:
        raise RequirementsError(f"{name} has {size} bytes; at most {most} are allowed.")
    raw = path.read_bytes()
    encoding = _encoding(raw, name)
    try:
        text = raw.decode(encoding)
    except (UnicodeError, LookupError):
        raise RequirementsError(f"{name} is not {encoding} text.") from None
    if "\x00" in text:
        raise RequirementsError(f"{name} is not text: it has a NUL character.")
    return text


def _encoding(raw: bytes, name: str) -> str:
    for mark, known in _MARKS:
        if raw.startswith(mark):
            return known
    for line in raw[: 2 * _FIRST].split(b"\n")[:2]:
        coding = _CODING.match(line[:_FIRST])
        if coding:
            given = coding[1].decode("ascii", "replace")
            known = re.sub(r"[-. ]", "_", given.lower())
            if not _KNOWN.fullmatch(known):
                raise RequirementsError(
                    f"{name} is not in an encoding that is read here: it says {given!r}; "
                    "save it as UTF-8 (UTF-16, Latin-1 and Windows' cp1250 to cp1258 are read too)."
                )
            return re.sub(r"_(unix|dos|mac)$", "", known).replace("windows_", "cp").replace("windows", "cp")
    return "utf-8"
