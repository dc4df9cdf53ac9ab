"""Places that settings name: files, folders, pages, indexes; what of them is there and may be read."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

_LINK = re.compile(r"""href=["']([^"'#?]+)""", re.I)
_NAMED = re.compile(r"^([A-Za-z0-9][\w.-]*)=(?=\S)")
_INCLUDED = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)(?:\s+|=)?(\S.*?)\s*(?:\s#.*)?$", re.M)
_DEEPEST = 8
_LARGEST = 4_000_000


def home_of(environ: Mapping[str, str]) -> Path:
    """The home folder of the server's user; `/nonexistent` when it has none."""
    if environ.get("HOME"):
        return Path(environ["HOME"]).absolute()
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path("/nonexistent")


def local(place: str) -> Path | None:
    """The path of a folder, file or `file:` URL; None for what lies elsewhere.

    A relative path is one from the server's working folder, and `~` is its user's home, as for pip.
    """
    if place.startswith("file:"):
        return Path(unquote(urlsplit(place).path))
    if "://" in place:
        return None
    return expanded(place).absolute()


def expanded(place: str) -> Path:
    """A path with its `~` filled in; as it is where that user has no home."""
    try:
        return Path(place).expanduser()
    except RuntimeError:
        return Path(place)


def named(index: str) -> tuple[str, str]:
    """The name and the URL in `name=url` or `url`; the name may be empty."""
    match = _NAMED.match(index)
    return (match[1], index[match.end() :]) if match else ("", index)


def as_url(place: str) -> str:
    """As a URL without commas and blanks, which separate the words of uv's variables."""
    path = local(place)
    if path is not None:
        place = f"file://{quote(str(path))}"
    return place.replace(",", "%2C").replace(" ", "%20")


def is_there(path: Path) -> bool:
    """Whether there is something; False also where nobody may look."""
    try:
        return path.exists()
    except OSError:
        return False


def why_unreadable(path: Path) -> str:
    """Why the service cannot read a file, or list a folder: a clause for a message. Empty when it can."""
    try:
        if path.is_dir():
            with os.scandir(path):
                return ""
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        return f"{path} is not there"
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return f"{path} cannot be read by the service's user ({_user()}): {reason}"
    return ""


def split_paths(value: str) -> list[str]:
    """The paths and URLs of a setting that may hold several, one of which may have blanks in it.

    A line that is a path as it stands is one; else blanks that no backslash stands before separate.
    """
    found: list[str] = []
    for line in value.splitlines():
        words = [re.sub(r"\\(\s)", r"\1", word) for word in re.split(r"(?<!\\)\s+", line.strip()) if word]
        while words:
            for end in range(len(words), 0, -1):
                path = local(joined := " ".join(words[:end]))
                if end == 1 or (path is not None and is_there(path)):
                    found.append(joined)
                    words = words[end:]
                    break
    return found


def with_included(path: Path) -> list[Path]:
    """A requirements or constraints file, and the files that it includes with `-r` and `-c`, at most 8 deep."""
    found: dict[Path, None] = {}

    def look(file: Path, depth: int) -> None:
        if file in found or depth > _DEEPEST:
            return
        found[file] = None
        with contextlib.suppress(OSError):
            if file.is_file() and file.stat().st_size <= _LARGEST:
                for name in _INCLUDED.findall(file.read_text(errors="replace")):
                    if "://" not in name:
                        look(Path(os.path.normpath(file.parent / name)), depth + 1)

    look(path, 0)
    return list(found)


def folders_behind(path: Path) -> list[Path]:
    """The folders in which the files of a local package index lie, itself included: its pages may link anywhere.

    Args:
        path: the index (a folder with a page for each project, PEP 503), or any other path, which is given back alone.
    """
    found = {path}
    for page in _pages(path):
        with contextlib.suppress(OSError):
            for link in _LINK.findall(page.read_text(errors="replace")):
                is_file = link.startswith("file:")
                target = local(link) if is_file or "://" in link else page.parent / unquote(link)
                if target is not None:
                    found.add(Path(os.path.normpath(target)).parent)
    return sorted(folder for folder in found if folder == path or not folder.is_relative_to(path))


def _pages(path: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from path.glob("*/index.html")


def _user() -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return f"uid {os.getuid()}"
