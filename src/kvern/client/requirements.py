"""Packages that a single Python function needs, listed in its docstring (PEP 508)."""

from __future__ import annotations

import re
import textwrap

_BLOCK = re.compile(r"^[ \t]*\[requirements\][ \t]*\n(.*?)^[ \t]*\[/requirements\]", re.MULTILINE | re.DOTALL)
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS = rf"(?:\s*\[\s*(?:{_NAME}(?:\s*,\s*{_NAME})*)?\s*\])?"
_VERSION = r"(?:===\s*\S+|(?:~=|==|!=|<=|>=|<|>)\s*[A-Za-z0-9._*+!-]+)"
_VERSIONS = rf"(?:{_VERSION}(?:\s*,\s*{_VERSION})*)"
_REQUIREMENT = re.compile(
    rf"{_NAME}{_EXTRAS}\s*(?:@\s*\S+|\(\s*{_VERSIONS}\s*\)|{_VERSIONS})?\s*(?:;\s*\S.*)?", re.IGNORECASE
)
_URL = re.compile(r"(?:git\+)?(?:https?|ssh|file)://\S+", re.IGNORECASE)


def docstring_requirements(docstring: str) -> list[str]:
    """The lines between `[requirements]` and `[/requirements]`, without comments and empty ones.

    Args:
        docstring: The docstring.

    Raises:
        ValueError: for a line that is no requirement.
    """
    match = _BLOCK.search(docstring)
    if match is None:
        return []
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in textwrap.dedent(match[1]).splitlines()]
    requirements = [line for line in lines if line]
    for line in requirements:
        if not _REQUIREMENT.fullmatch(line) and not _URL.fullmatch(line):
            raise ValueError(f"Invalid requirement {line!r}: expected a name and versions, such as 'numpy>=1.26,<3'")
    return requirements
