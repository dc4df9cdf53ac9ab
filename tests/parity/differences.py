"""Reads the tables of docs/sdk/differences.md, which are the only differences that there may be."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sdk" / "differences.md"


class Differences:
    """The names of one table.

    Args:
        title: The heading above the table.
    """

    def __init__(self, title: str) -> None:
        section = PAGE.read_text(encoding="utf-8").split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
        cells = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
        self.patterns = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
        self.used: set[str] = set()

    def cover(self, name: str) -> bool:
        """Whether a row names it; both clients count as `CogniteClient`."""
        name = name.replace("AsyncCogniteClient", "CogniteClient")
        found = [pattern for pattern in self.patterns if fnmatch.fnmatchcase(name, pattern)]
        self.used.update(found)
        return bool(found)
