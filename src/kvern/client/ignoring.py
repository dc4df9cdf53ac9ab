"""What of a folder is not part of the function: the patterns of its ignore files, and what never is."""

from __future__ import annotations

import os
import re
import string
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
    pattern: re.Pattern[bytes]
    of_names: bool
    """Whether it is matched against the last name of a path alone, and not against the path from its folder on."""

    folders_only: bool
    keeps: bool


class IgnoreRules:
    """The rules of one folder tree; the syntax and the meaning of the files are those of gitignore.

    Within a folder `.kvernignore` counts more than `.funcignore`, and that more than `.gitignore`; deeper folders count
    more than those above, later lines more than earlier ones. What lies in a folder that is left out is left out
    whatever the rules say. As with git, a `?` is one byte. Files above the top of the tree are not read.

    Args:
        root: The top of the tree.
    """

    FILES = (".gitignore", ".funcignore", ".kvernignore")

    def __init__(self, root: Path) -> None:
        self._root = root
        self._rules: dict[PurePosixPath, list[_Rule]] = {}

    def enter(self, folder: PurePosixPath) -> None:
        """Reads the rules that a folder adds; call it before asking about what is in the folder."""
        lines: list[bytes] = []
        for name in self.FILES:
            file = self._root / folder / name
            if file.is_file():
                lines.extend(file.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"))
        rules = [rule for rule in map(_rule, lines) if rule is not None]
        if rules:
            self._rules[folder] = rules

    def leaves_out(self, path: PurePosixPath, is_folder: bool) -> bool:
        """Whether a path, relative to the top, is no part of the function."""
        if path.name in _NEVER or path.suffix in (".pyc", ".pyo"):
            return True
        if is_folder and (self._root / path / "pyvenv.cfg").is_file():
            return True
        name = os.fsencode(path.name)
        for folder in path.parents:
            rules = self._rules.get(folder, ())
            relative = os.fsencode(str(path.relative_to(folder))) if rules else b""
            for rule in reversed(rules):
                if (is_folder or not rule.folders_only) and rule.pattern.fullmatch(name if rule.of_names else relative):
                    return not rule.keeps
        return False


def _rule(line: bytes) -> _Rule | None:
    """The rule of one line; None when it says nothing, or something that no name matches."""
    line = line.removesuffix(b"\r")
    if line.startswith(b"#"):
        return None
    line = _without_spaces_at_its_end(line)
    keeps = line.startswith(b"!")
    glob = line[1:] if keeps else line
    folders_only = glob.endswith(b"/")
    glob = glob.removesuffix(b"/")
    of_names = b"/" not in glob
    expression = _expression(glob.removeprefix(b"/"), of_names)
    if not glob or expression is None:
        return None
    return _Rule(re.compile(expression, re.DOTALL), of_names, folders_only, keeps)


def _without_spaces_at_its_end(line: bytes) -> bytes:
    kept = line.rstrip(b" ")
    backslashes = len(kept) - len(kept.rstrip(b"\\"))
    # The last backslash of an odd number makes the space behind it part of the name.
    return kept + b" " if backslashes % 2 and kept != line else kept


def _expression(glob: bytes, of_names: bool) -> bytes | None:
    """A glob as a regular expression; None when it is one that matches nothing."""
    parts: list[bytes] = []
    at = 0
    # git compares what comes before the first of these by itself, what follows as a pattern that begins there.
    literal = re.match(rb"[^*?\[\\]*", glob)
    beginnings = (0, literal.end() if literal else 0)
    while at < len(glob):
        character = glob[at : at + 1]
        if character == b"*":
            end = at
            while glob[end : end + 1] == b"*":
                end += 1
            begins = at in beginnings or glob[at - 1 : at] == b"/"
            ends = end == len(glob) or glob[end : end + 1] == b"/" or glob[end : end + 2] == rb"\/"
            if end - at == 1 or of_names or not begins or not ends:
                parts.append(b"[^/]*")
            elif glob[end : end + 1] == b"/":
                parts.append(b"(?:.*/)?")
                end += 1
            else:
                parts.append(b".*")
            at = end
        elif character == b"?":
            parts.append(b"[^/]")
            at += 1
        elif character == b"[":
            found = _set(glob, at + 1)
            if found is None:
                return None
            expression, at = found
            parts.append(expression)
        elif character == b"\\":
            if at + 1 == len(glob):
                return None
            parts.append(re.escape(glob[at + 1 : at + 2]))
            at += 2
        else:
            parts.append(re.escape(character))
            at += 1
    return b"".join(parts)


_CLASSES = {
    "alnum": string.ascii_letters + string.digits,
    "alpha": string.ascii_letters,
    "blank": " \t",
    "cntrl": "".join(map(chr, (*range(32), 127))),
    "digit": string.digits,
    "graph": string.ascii_letters + string.digits + string.punctuation,
    "lower": string.ascii_lowercase,
    "print": string.ascii_letters + string.digits + string.punctuation + " ",
    "punct": string.punctuation,
    "space": string.whitespace,
    "upper": string.ascii_uppercase,
    "xdigit": string.hexdigits,
}


def _set(glob: bytes, at: int) -> tuple[bytes, int] | None:
    """A set such as `[a-z]`, from behind its bracket, and where it ends; None when it never does."""
    negated = glob[at : at + 1] in (b"!", b"^")
    at += negated
    members: set[int] = set()
    before: int | None = None  # what a range can begin with
    is_first = True
    while is_first or glob[at : at + 1] != b"]":
        is_first = False
        character = glob[at : at + 1]
        if not character:
            return None
        if character == b"-" and before is not None and glob[at + 1 : at + 2] not in (b"", b"]"):
            at += 2 if glob[at + 1 : at + 2] == b"\\" else 1
            if at == len(glob):
                return None
            members.update(range(before, glob[at] + 1))
            before = None
        elif character == b"[" and glob[at + 1 : at + 2] == b":" and (end := glob.find(b"]", at + 2)) > 0:
            name = glob[at + 2 : end - 1].decode(errors="replace")
            if end < at + 3 or glob[end - 1 : end] != b":":
                members.add(ord("["))
                before = ord("[")
            elif name not in _CLASSES:
                return None
            else:
                members.update(_CLASSES[name].encode())
                before, at = None, end
        else:
            if character == b"\\":
                at += 1
                if at == len(glob):
                    return None
            before = glob[at]
            members.add(before)
        at += 1
    members = (set(range(256)) - members if negated else members) - {ord("/")}
    expression = b"[%s]" % b"".join(rb"\x%02x" % one for one in sorted(members)) if members else b"(?!)"
    return expression, at + 1
