"""Text of functions and users made harmless for terminals, which take some characters for orders."""

from __future__ import annotations

import re

_ORDERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""All controls but tab and line feed, what turns the direction of writing, and halves of characters."""

_SHORT = {"\r": r"\r"}


def printable(text: str) -> str:
    """The text with an escape such as `\\x1b` in the place of each character that a terminal would act upon.

    Lines and tabs stay.
    """
    return _ORDERS.sub(_escape, text)


def one_line(text: str) -> str:
    """As `printable`, and in one line: no value can pass for more than itself."""
    return printable(text).replace("\n", r"\n").replace("\t", r"\t")


def printable_json(document: str) -> str:
    """A JSON document that means the same, with JSON's own escapes in the place of such characters."""
    return _ORDERS.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return _SHORT.get(found[0]) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")
