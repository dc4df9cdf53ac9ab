"""A bundle's `requirements.txt`: read in full by us, so that uv is handed only lines that cannot reach the machine."""

from __future__ import annotations

import codecs
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from kvern.build.errors import RequirementsError
from kvern.build.urls import Login, without_login

FILE = "requirements.txt"
DEFAULT = "cognite-sdk"
"""Installed, at its latest, unless the file names it (contract 11.2)."""

BUNDLE_URL = "file:///bundle/"
"""Stands for the bundle's root in lines and locks, so that the same archives make the same lock wherever they lie."""

_LARGEST = 1_000_000
_COMMENT = re.compile(r"(^|\s)#.*$")
_VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}")
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_NAME = re.compile(r"^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[^\]]*\])?\s*")
_OPTION = re.compile(r"\s--[a-z]")
_HASH = re.compile(r"^--hash[= ]([a-z0-9]+:[0-9a-fA-F]+)$")
_ARCHIVES = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")
_SCHEMES = ("http", "https", "git+http", "git+https", "git+ssh")

_VALUED = {
    "-r": "--requirement",
    "--requirement": "--requirement",
    "-c": "--constraint",
    "--constraint": "--constraint",
    "-i": "--index-url",
    "--index-url": "--index-url",
    "--pypi-url": "--index-url",
    "--extra-index-url": "--extra-index-url",
    "-f": "--find-links",
    "--find-links": "--find-links",
    "--trusted-host": "--trusted-host",
    "--only-binary": "--only-binary",
    "--no-binary": "--no-binary",
}
_BARE = ("--no-index", "--pre", "--prefer-binary", "--require-hashes")


@dataclass(slots=True)
class Requirements:
    """What a `requirements.txt` asks for, in the form in which uv is given it. No line holds credentials.

    Args:
        lines: requirements; archives of the bundle as `file:` URLs below `BUNDLE_URL`.
        constraints: the same, from `-c` files.
        hashes: the hashes that the file demands, by normalised name.
        names: normalised names of all that is required, where it can be told.
        index_url, extra_index_urls, find_links, trusted_hosts: as in the file, credentials included.
        local: the archives, and folders for `find_links`, of the bundle that are referred to, relative to its root.
        formats: `--no-binary=…` and `--only-binary=…`, as given.
        prereleases, no_index: whether `--pre` and `--no-index` are given.
        logins: credentials taken out of direct URLs.
        needs_source: whether something can only be had by building it: git, a source archive, `--no-binary`.
    """

    lines: list[str] = field(default_factory=list[str])
    constraints: list[str] = field(default_factory=list[str])
    hashes: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    names: set[str] = field(default_factory=set[str])
    index_url: str | None = None
    extra_index_urls: list[str] = field(default_factory=list[str])
    find_links: list[str] = field(default_factory=list[str])
    trusted_hosts: list[str] = field(default_factory=list[str])
    local: set[PurePosixPath] = field(default_factory=set[PurePosixPath])
    formats: list[str] = field(default_factory=list[str])
    prereleases: bool = False
    no_index: bool = False
    logins: list[Login] = field(default_factory=list[Login])
    needs_source: bool = False


def read(code: Path) -> Requirements:
    """The requirements of an unpacked bundle: those of `requirements.txt` at its root, and the default package.

    pip's syntax: comments, continued lines, extras, markers, hashes, direct URLs, archives of the bundle, `-r` and
    `-c` of files of the bundle, and the index options.

    Args:
        code: the unpacked bundle.

    Raises:
        RequirementsError: a line cannot be understood, or would read something outside the bundle: other paths,
            `file:` URLs, `-e`, `${VARIABLES}`. The message names file and line.
    """
    found = Requirements()
    if (code / FILE).is_file():
        _File(code, found).read(PurePosixPath(FILE), is_constraint=False)
    if DEFAULT not in found.names:
        found.lines.append(DEFAULT)
    return found


def normal(name: str) -> str:
    """A package's name in the one spelling by which names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


class _File:
    """Reads one requirements file after another into the same result."""

    def __init__(self, code: Path, found: Requirements) -> None:
        self._code = code
        self._found = found
        self._where = ""
        self._is_constraint = False
        self._seen: set[tuple[PurePosixPath, bool]] = set()

    def read(self, path: PurePosixPath, *, is_constraint: bool) -> None:
        if (path, is_constraint) in self._seen:
            return
        self._seen.add((path, is_constraint))
        for number, line in _lines(_text(self._code / path, str(path))):
            # Set anew for each line: an included file has changed both.
            self._where, self._is_constraint = f"{path}, line {number}", is_constraint
            if _VARIABLE.search(line):
                raise self._fault(f"variables such as {_VARIABLE.findall(line)[0]} are not filled in here")
            if line.startswith("-"):
                self._option(line, path)
            else:
                self._requirement(line)

    def _fault(self, reason: str) -> RequirementsError:
        return RequirementsError(f"{self._where}: {reason}.")

    def _option(self, line: str, path: PurePosixPath) -> None:
        found = self._found
        for option, value in self._options(line):
            match option:
                case "--requirement" | "--constraint":
                    inner = self._inside(value, path.parent)
                    if not (self._code / inner).is_file():
                        raise self._fault(f"there is no file {str(inner)!r} in the zip")
                    is_constraint = self._is_constraint or option == "--constraint"
                    self.read(inner, is_constraint=is_constraint)
                case "--index-url":
                    found.index_url = self._remote(value)
                case "--extra-index-url":
                    found.extra_index_urls.append(self._remote(value))
                case "--find-links":
                    is_remote = value.startswith(("http://", "https://"))
                    found.find_links.append(value if is_remote else self._links(value))
                case "--trusted-host":
                    found.trusted_hosts.append(value)
                case "--no-binary" | "--only-binary":
                    found.formats.append(f"{option}={value}")
                    found.needs_source |= option == "--no-binary" and value != ":none:"
                case "--no-index":
                    found.no_index = True
                case "--pre":
                    found.prereleases = True
                case _:
                    # The rest is how Kvern installs anyway: wheels first, and everything by its hash.
                    pass

    def _options(self, line: str) -> Iterator[tuple[str, str]]:
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise self._fault(f"the options cannot be read ({error})") from None
        at = 0
        while at < len(words):
            word, at = words[at], at + 1
            option, equals, value = word.partition("=")
            if word[:2] in ("-r", "-c", "-i", "-f") and len(word) > 2:
                option, equals, value = word[:2], "=", word[2:].removeprefix("=")
            if option in ("-e", "--editable"):
                raise self._fault("editable installs (-e) are not possible; name a package or an archive of the zip")
            if option in _BARE and not equals:
                yield option, ""
                continue
            if option not in _VALUED:
                raise self._fault(f"the option {option} is not known or not allowed here")
            if not equals:
                if at == len(words):
                    raise self._fault(f"the option {option} lacks its value")
                value, at = words[at], at + 1
            yield _VALUED[option], value

    def _requirement(self, line: str) -> None:
        option = _OPTION.search(line)
        hashes: set[str] = set()
        if option:
            for word in re.split(r"\s+(?=--)", line[option.start() :].strip()):
                given = _HASH.match(word)
                if not given:
                    raise self._fault(f"{word.split('=')[0]} is not known or not allowed here")
                hashes.add(given[1].lower())
            line = line[: option.start()].rstrip()
        text, name = self._checked(line)
        if hashes and name:
            self._found.hashes.setdefault(name, set()).update(hashes)
        if self._is_constraint:
            self._found.constraints.append(text)
        else:
            self._found.lines.append(text)
            if name:
                self._found.names.add(name)

    def _checked(self, line: str) -> tuple[str, str]:
        """The line as uv may have it, and the normalised name that it requires."""
        named = _NAME.match(line)
        if named and line[named.end() :].startswith("@"):
            target, marker = _split_marker(line[named.end() + 1 :].strip())
            return f"{line[: named.end()].rstrip()} @ {self._source(target)}{marker}", normal(named[1])
        target, marker = _split_marker(line)
        bare = target.partition("[")[0]
        if "://" in bare or bare.startswith(("file:", ".", "/", "~")) or bare.endswith(_ARCHIVES) or "/" in bare:
            name = re.split(r"-\d", Path(urlsplit(target).path).name, maxsplit=1)[0]
            return f"{self._source(target)}{marker}", normal(name)
        if not named:
            raise self._fault(f"{line!r} is not a requirement")
        return line, normal(named[1])

    def _source(self, target: str) -> str:
        """A URL without credentials, or the URL of an archive of the bundle."""
        scheme = target.partition("://")[0].lower() if "://" in target else ""
        if scheme:
            if scheme not in _SCHEMES:
                raise self._fault(f"URLs of the kind {scheme}:// are not allowed; use one of {', '.join(_SCHEMES)}")
            url, login = without_login(target)
            if scheme == "git+ssh":
                url, login = target, None
            if login:
                self._found.logins.append(login)
            path = urlsplit(url).path
            self._found.needs_source |= scheme.startswith("git+") or not path.endswith(".whl")
            return url
        if target.startswith("file:"):
            raise self._fault("file: URLs are not allowed; give an archive of the zip by its relative path")
        path, bracket, extras = target.partition("[")
        inner = self._inside(path, PurePosixPath())
        there = self._code / inner
        if there.is_dir():
            raise self._fault(
                f"{path!r} is a folder; only archives ({', '.join(_ARCHIVES[:2])}) of the zip can be installed. "
                "What lies in the zip can be imported as it is"
            )
        if not there.is_file():
            raise self._fault(f"there is no file {str(inner)!r} in the zip")
        if not inner.name.endswith(_ARCHIVES):
            raise self._fault(f"{path!r} is not an archive that can be installed ({', '.join(_ARCHIVES)})")
        self._found.needs_source |= inner.suffix != ".whl"
        self._found.local.add(inner)
        return BUNDLE_URL + quote(str(inner)) + bracket + extras

    def _links(self, given: str) -> str:
        inner = self._inside(given, PurePosixPath())
        if not (self._code / inner).is_dir():
            raise self._fault(f"there is no folder {str(inner)!r} in the zip")
        self._found.local.add(inner)
        return BUNDLE_URL + quote(str(inner))

    def _inside(self, given: str, folder: PurePosixPath) -> PurePosixPath:
        """A path relative to the bundle's root, of something that lies in the bundle."""
        if "://" in given or given.startswith("file:"):
            raise self._fault(f"{given.partition(':')[0]}: URLs are not allowed here; give a path within the zip")
        if given.startswith(("/", "~")) or "\\" in given:
            raise self._fault(f"{given!r} is not within the zip; paths must be relative to its root")
        parts: list[str] = []
        for part in (*folder.parts, *PurePosixPath(unquote(given) if "%" in given else given).parts):
            if part != "..":
                parts.append(part)
            elif parts:
                parts.pop()
            else:
                raise self._fault(f"{given!r} is not within the zip")
        return PurePosixPath(*parts)

    def _remote(self, url: str) -> str:
        return index(url, self._where)


def index(url: str, where: str) -> str:
    """`url` if it can be a package index: http or https, one word.

    Args:
        url: as given; it may hold credentials.
        where: what gave it, for the message.

    Raises:
        RequirementsError: it is something else. The message does not repeat it.
    """
    try:
        parts = urlsplit(url)
        is_fit = parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"[\s\x00-\x1f]", url)
    except ValueError:
        is_fit = False
    if not is_fit:
        raise RequirementsError(f"{where}: a package index must be given as an http:// or https:// URL.")
    return url


def _split_marker(text: str) -> tuple[str, str]:
    """A URL or path, and the environment marker behind it with its semicolon."""
    at = re.search(r"\s;|;\s", text)
    return (text[: at.start()].strip(), f" ; {text[at.end() :].strip()}") if at else (text.strip(), "")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines with the number of their first line: continuations joined, comments and blanks left out."""
    begun, number = "", 0
    for at, line in enumerate([*text.splitlines(), ""], start=1):
        number = number if begun else at
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            begun += line[:-1] + " "
            continue
        whole = _COMMENT.sub("", begun + line).strip()
        begun = ""
        if whole:
            yield number, whole


def _text(path: Path, name: str) -> str:
    """The file's text: UTF-8, or what a byte order mark or a coding line says, as pip reads it."""
    if path.stat().st_size > _LARGEST:
        raise RequirementsError(f"{name} has {path.stat().st_size} bytes; at most {_LARGEST} are allowed.")
    raw = path.read_bytes()
    encoding = "utf-8"
    for mark, known in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if raw.startswith(mark):
            encoding = known
            break
    else:
        for line in raw.split(b"\n")[:2]:
            coding = _CODING.match(line)
            if coding:
                encoding = coding[1].decode()
    try:
        text = raw.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        raise RequirementsError(f"{name} is not {encoding} text.") from None
    if "\x00" in text:
        raise RequirementsError(f"{name} is not text: it has a NUL character.")
    return text
