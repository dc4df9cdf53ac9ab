"""What a bundle needs by its `pyproject.toml` (PEP 621), or by the metadata in its handler (PEP 723)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from kvern.build.errors import RequirementsError
from kvern.build.requirement_file import RequirementFile
from kvern.build.requirements import Requirements, normal
from kvern.build.text import read_text
from kvern.build.toml import Table, read_toml, table

PROJECT = "pyproject.toml"
_LARGEST = 1_000_000
_LARGEST_HANDLER = 5_000_000
_MOST = 2_000
_BEGIN, _END = "# /// script", "# ///"
_SHOWN = 200


def script(code: Path, handler: str, version: str, found: Requirements) -> bool:
    """Take what the metadata in the handler says; whether there is any.

    Args:
        code: the unpacked bundle.
        handler: the entry file.
        version: of the Python that the function will run under.
        found: takes the requirements.

    Raises:
        RequirementsError: it is not understood, not allowed, or for another Python. The message names file and line.
    """
    if _BEGIN.encode() not in (code / handler).read_bytes():
        return False
    blocks = list(_blocks(read_text(code / handler, handler, _LARGEST_HANDLER).splitlines()))
    if not blocks:
        return False
    if len(blocks) > 1:
        raise RequirementsError(f"{handler}, line {blocks[1][0]}: there is a second block of script metadata.")
    first, text = blocks[0]
    data = read_toml(text, handler, first + 1)
    document = _Document(handler, text, first + 1)
    document.python(data, version)
    document.take(code, data.get("dependencies", []), "dependencies", found)
    document.other_sources(data, found)
    return True


def project(code: Path, version: str, found: Requirements) -> bool:
    """Take what `pyproject.toml` lists; whether it lists anything. Arguments and errors as for `script`."""
    text = read_text(code / PROJECT, PROJECT, _LARGEST)
    data = read_toml(text, PROJECT)
    about = table(data, "project")
    dynamic = about.get("dynamic")
    if isinstance(dynamic, list) and "dependencies" in dynamic:
        found.notes.append(f"{PROJECT} says that its dependencies are dynamic, so they are not read.")
        return False
    if "dependencies" not in about:
        if table(data, "tool", "poetry", "dependencies"):
            found.notes.append(
                f"{PROJECT} lists what it needs for Poetry alone, which is not read; "
                "make a requirements.txt of it with: poetry export -o requirements.txt"
            )
        return False
    document = _Document(PROJECT, text, 1)
    document.python(about, version)
    document.take(code, about["dependencies"], "project.dependencies", found)
    document.other_sources(data, found)
    return True


class _Document:
    """Tells where in a file a value stands, which a reader of TOML does not."""

    def __init__(self, name: str, text: str, first: int) -> None:
        self._name = name
        self._lines = text.splitlines()
        self._first = first

    def _where(self, value: str, begin: int = 0) -> tuple[str, int]:
        for at in range(begin, len(self._lines)):
            if value in self._lines[at]:
                return f"{self._name}, line {at + self._first}", at
        return self._name, begin

    def python(self, about: Table, version: str) -> None:
        wanted = about.get("requires-python")
        if wanted is None:
            return
        where, _ = self._where("requires-python")
        try:
            fits = SpecifierSet(str(wanted)[:_SHOWN]).contains(version, prereleases=True)
        except InvalidSpecifier:
            raise RequirementsError(f"{where}: requires-python {str(wanted)[:_SHOWN]!r} is not understood.") from None
        if not fits:
            raise RequirementsError(
                f"{where}: it needs Python {wanted}, and the function's is {version}; choose another runtime."
            )

    def take(self, code: Path, listed: object, what: str, found: Requirements) -> None:
        listed = cast("list[object]", listed) if isinstance(listed, list) else None
        where, at = self._where("dependencies")
        if listed is None or not all(isinstance(one, str) for one in listed):
            raise RequirementsError(f"{where}: {what} must be a list of strings.")
        if len(listed) > _MOST:
            raise RequirementsError(f"{where}: {what} has {len(listed)} entries; at most {_MOST} are allowed.")
        reader = RequirementFile(code, found)
        for one in cast("list[str]", listed):
            where, at = self._where(one, at)
            reader.add(one, where)

    def other_sources(self, data: Table, found: Requirements) -> None:
        """Refuse what would be taken from another place than the file says."""
        settings = table(data, "tool", "uv")
        for name in table(settings, "sources"):
            if normal(name) in found.names:
                _, begin = self._where("tool.uv.sources")
                where, _ = self._where(name, begin)
                raise RequirementsError(
                    f"{where}: tool.uv.sources, which says where {name[:_SHOWN]!r} is to come from, is not read here; "
                    "make a requirements.txt with: uv export --no-hashes --no-emit-project -o requirements.txt"
                )
        unread = sorted({"index", "index-url", "extra-index-url", "find-links", "constraint-dependencies",
                         "override-dependencies"} & settings.keys())  # fmt: skip
        if unread:
            found.notes.append(
                f"Of {self._name} these are not read: {', '.join(f'tool.uv.{name}' for name in unread)}."
            )


def _blocks(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Blocks of script metadata: the number of the line that begins each, and its TOML."""
    at = 0
    while at < len(lines):
        if lines[at].rstrip() != _BEGIN:
            at += 1
            continue
        begin, end = at, 0
        at += 1
        while at < len(lines) and (lines[at] == "#" or lines[at].startswith("# ")):
            end = at if lines[at].rstrip() == _END else end
            at += 1
        if end:
            yield begin + 1, "\n".join(line[2:] for line in lines[begin + 1 : end])
            at = end + 1
