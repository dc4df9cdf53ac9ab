"""What of a folder is not part of the function: the patterns of .funcignore and .gitignore, and what never is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_NEVER = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        "__pycache__",
        ".venv",
        ".tox",
        ".nox",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".ipynb_checkpoints",
        ".DS_Store",
    }
)


@dataclass(frozen=True)
class _Rule:
    pattern: re.Pattern[str]
    folders_only: bool
    keeps: bool


class IgnoreRules:
    """The rules of one folder tree; the syntax of the files is that of gitignore.

    Within a folder `.funcignore` counts more than `.gitignore`, deeper folders more than those above, later lines more
    than earlier ones. What lies in a folder that is left out is left out whatever the rules say.

    Args:
        root: The top of the tree.
    """

    FILES = (".gitignore", ".funcignore")

    def __init__(self, root: Path) -> None:
        self._root = root
        self._rules: dict[PurePosixPath, list[_Rule]] = {}

    def enter(self, folder: PurePosixPath) -> None:
        """Reads the rules that a folder adds; call it before asking about what is in the folder."""
        lines: list[str] = []
        for name in self.FILES:
            file = self._root / folder / name
            if file.is_file():
                lines.extend(file.read_text(encoding="utf-8", errors="replace").splitlines())
        rules = [rule for rule in map(_rule, lines) if rule is not None]
        if rules:
            self._rules[folder] = rules

    def leaves_out(self, path: PurePosixPath, is_folder: bool) -> bool:
        """Whether a path, relative to the top, is no part of the function."""
        if path.name in _NEVER or path.suffix in (".pyc", ".pyo"):
            return True
        if is_folder and (self._root / path / "pyvenv.cfg").is_file():
            return True
        for folder in path.parents:
            relative = str(path.relative_to(folder))
            for rule in reversed(self._rules.get(folder, ())):
                if (is_folder or not rule.folders_only) and rule.pattern.fullmatch(relative):
                    return not rule.keeps
        return False


def _rule(line: str) -> _Rule | None:
    line = line.rstrip("\n\r")
    if line.startswith("#"):
        return None
    if not line.endswith("\\ "):
        line = line.rstrip(" ")
    keeps = line.startswith("!")
    line = line[1:] if keeps else line
    folders_only = line.endswith("/")
    line = line.rstrip("/")
    if not line:
        return None
    anchored = "/" in line
    expression = _expression(line.lstrip("/"))
    return _Rule(re.compile(expression if anchored else f"(?:.*/)?{expression}"), folders_only, keeps)


def _expression(glob: str) -> str:
    parts: list[str] = []
    position = 0
    while position < len(glob):
        rest = glob[position:]
        if rest.startswith("**/"):
            parts.append("(?:.*/)?")
            position += 3
        elif rest == "**":
            parts.append(".+")
            position += 2
        elif rest[0] == "*":
            parts.append("[^/]*")
            position += 1
        elif rest[0] == "?":
            parts.append("[^/]")
            position += 1
        elif rest[0] == "\\" and len(rest) > 1:
            parts.append(re.escape(rest[1]))
            position += 2
        elif rest[0] == "[" and (match := re.match(r"\[([!^]?)(\]?[^\]]*)\]", rest)):
            inner = match[2].replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]")
            parts.append(f"(?!/)[{'^' if match[1] else ''}{inner}]")
            position += match.end()
        else:
            parts.append(re.escape(rest[0]))
            position += 1
    return "".join(parts)
