"""A `requirements.txt`: read in full by us, so that uv is handed only lines that cannot reach the machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement

from kvern.build.errors import RequirementsError
from kvern.build.requirements import BUNDLE_URL, Requirements, index, normal
from kvern.build.text import read_text
from kvern.build.urls import one_host, one_url, without_login

_LARGEST = 1_000_000
_TOGETHER = 2_000_000
"""Bytes of a file, and of it with all that it includes."""

_DEEPEST = 16
_MOST_FILES = 100
_MOST_LINES = 10_000
_LONGEST = 4_000
_LONGEST_WITH_HASHES = 100_000
"""Characters of a line. With these a reader that takes the square of a line's length is still quick."""

_LONGEST_NAME, _LONGEST_PATH = 255, 1024
_SHOWN = 200

_COMMENT = re.compile(r"(^|\s)#.*$")
_VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}")
_NAME = re.compile(r"^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[^\]]*\])?\s*")
_OPTION = re.compile(r"\s--[a-z]")
_EXTRAS = re.compile(r"\[[A-Za-z0-9._, -]*\]")
_FORMATS = re.compile(r":(all|none):|[A-Za-z0-9._-]+(,[A-Za-z0-9._-]+)*")
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


class RequirementFile:
    """Reads one requirements file after another into the same result.

    pip's syntax: comments, continued lines, extras, markers, hashes, direct URLs, archives of the bundle, `-r` and
    `-c` of files of the bundle, and the index options. What would read something outside the bundle is refused: other
    paths, `file:` URLs, `-e`, `${VARIABLES}`.

    Args:
        code: the unpacked bundle.
        found: takes what is read.
    """

    def __init__(self, code: Path, found: Requirements) -> None:
        self._code = code
        self._found = found
        self._where = ""
        self._is_constraint = False
        self._seen: set[tuple[PurePosixPath, bool]] = set()
        self._depth = 0
        self._bytes = 0
        self._count = 0

    def read(self, path: PurePosixPath, *, is_constraint: bool = False) -> None:
        """Read a file of the bundle, and what it includes.

        Raises:
            RequirementsError: a line is not understood or not allowed. The message names file and line.
        """
        if (path, is_constraint) in self._seen:
            return
        self._seen.add((path, is_constraint))
        self._bytes += (self._code / path).stat().st_size
        if self._depth >= _DEEPEST or len(self._seen) > _MOST_FILES or self._bytes > _TOGETHER:
            limits = f"{_MOST_FILES} files, {_DEEPEST} deep, {_TOGETHER} bytes together"
            raise self._fault(f"too much is included by -r and -c; allowed are {limits}")
        self._depth += 1
        for number, line in _lines(read_text(self._code / path, str(path), _LARGEST)):
            # Set anew for each line: an included file has changed both.
            self._where, self._is_constraint = f"{path}, line {number}", is_constraint
            self._count += 1
            if self._count > _MOST_LINES:
                raise self._fault(f"at most {_MOST_LINES} lines are allowed")
            if len(line) > (_LONGEST if line.startswith("-") or "--hash" not in line else _LONGEST_WITH_HASHES):
                raise self._fault(f"the line has {len(line)} characters; at most {_LONGEST} are allowed")
            if _VARIABLE.search(line):
                raise self._fault(f"variables such as {_VARIABLE.findall(line)[0][:_SHOWN]} are not filled in here")
            if line.startswith("-"):
                self._option(line, path)
            else:
                self._requirement(line)
        self._depth -= 1

    def add(self, requirement: str, where: str) -> None:
        """Take a single requirement, as other files list them: without options.

        Raises:
            RequirementsError: as for `read`.
        """
        self._where, self._is_constraint = where, False
        text = requirement.strip()
        if len(text) > _LONGEST or len(text.splitlines()) != 1 or text.startswith("-") or _VARIABLE.search(text):
            raise self._fault(f"{text[:_SHOWN]!r} is not a requirement")
        self._take(text)

    def links(self, folder: str, where: str) -> None:
        """Take a folder of wheels in the bundle. Raises `RequirementsError`: there is none."""
        self._where = where
        links = self._links(folder)
        if links not in self._found.find_links:
            self._found.find_links.append(links)

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
                    found.index_url = index(value, self._where)
                case "--extra-index-url":
                    found.extra_index_urls.append(index(value, self._where))
                case "--find-links":
                    found.find_links.append(self._links(value))
                case "--trusted-host":
                    found.trusted_hosts.append(self._fit(one_host, value))
                case "--no-binary" | "--only-binary":
                    if not _FORMATS.fullmatch(value):
                        raise self._fault(f"{option} takes names of packages, parted by commas, :all: or :none:")
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
            words = iter(line[option.start() :].split())
            for word in words:
                given = _HASH.match(f"{word}={next(words, '')}" if word == "--hash" else word)
                if not given:
                    raise self._fault(f"{word.split('=')[0]} is not known or not allowed here")
                hashes.add(given[1].lower())
            line = line[: option.start()].rstrip()
            if len(line) > _LONGEST:
                raise self._fault(f"the requirement has {len(line)} characters; at most {_LONGEST} are allowed")
        self._take(line, hashes)

    def _take(self, line: str, hashes: Collection[str] = ()) -> None:
        text, name = self._checked(line)
        self._found.places.setdefault(text, self._where)
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
            return f"{line[: named.end()].rstrip()} @ {self._source(target)}{self._marked(marker)}", normal(named[1])
        target, marker = _split_marker(line)
        bare = target.partition("[")[0]
        if "://" in bare or bare.startswith(("file:", ".", "/", "~")) or bare.endswith(_ARCHIVES) or "/" in bare:
            source = self._source(target)
            name = re.split(r"-\d", Path(urlsplit(source).path).name, maxsplit=1)[0]
            return f"{source}{self._marked(marker)}", normal(name)
        if not named:
            raise self._fault(f"{line[:_SHOWN]!r} is not a requirement")
        try:
            Requirement(line)
        except (InvalidRequirement, RecursionError) as error:
            reason = str(error).partition("\n")[0] if isinstance(error, InvalidRequirement) else "nested too deep"
            raise self._fault(f"{line[:_SHOWN]!r} is not a requirement ({reason[:_SHOWN]})") from None
        return line, normal(named[1])

    def _marked(self, marker: str) -> str:
        """An environment marker with its semicolon, if it is one."""
        try:
            if marker:
                Marker(marker.lstrip(" ;"))
        except (InvalidMarker, RecursionError):
            raise self._fault(f"{marker.lstrip(' ;')[:_SHOWN]!r} is not an environment marker") from None
        return marker

    def _fit(self, check: Callable[[str], str], value: str) -> str:
        try:
            return check(value)
        except ValueError as error:
            raise self._fault(str(error)) from None

    def _source(self, target: str) -> str:
        """A URL without credentials, or the URL of an archive of the bundle."""
        scheme = target.partition("://")[0].lower() if "://" in target else ""
        if scheme:
            if scheme not in _SCHEMES:
                raise self._fault(
                    f"URLs of the kind {scheme[:_SHOWN]}:// are not allowed; use one of {', '.join(_SCHEMES)}"
                )
            self._fit(lambda given: one_url(given, _SCHEMES), target)
            url, login = (target, None) if scheme == "git+ssh" else without_login(target)
            if "@-" in url:
                raise self._fault("the revision behind '@' begins with a hyphen")
            if login:
                self._fit(lambda _: login.netrc, target)
                self._found.logins.append(login)
            path = urlsplit(url).path
            self._found.needs_source |= scheme.startswith("git+") or not path.endswith(".whl")
            return url
        if target.startswith("file:"):
            raise self._fault("file: URLs are not allowed; give an archive of the zip by its relative path")
        path, bracket, extras = target.partition("[")
        if bracket and not _EXTRAS.fullmatch(bracket + extras):
            raise self._fault(f"{(bracket + extras)[:_SHOWN]!r} are no extras")
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
        if given.startswith(("http://", "https://")):
            # Lists of links are parted by commas.
            return self._fit(one_url, given).replace(",", "%2C")
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
        if len("/".join(parts)) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_NAME for part in parts):
            raise self._fault("the path is too long for anything in the zip")
        if any(not part.isprintable() for part in parts):
            raise self._fault(f"{given[:_SHOWN]!r} is not within the zip")
        return PurePosixPath(*parts)


def _split_marker(text: str) -> tuple[str, str]:
    """A URL or path, and the environment marker behind it with its semicolon."""
    at = re.search(r"\s;|;\s", text)
    return (text[: at.start()].strip(), f" ; {text[at.end() :].strip()}") if at else (text.strip(), "")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines with the number of their first line: continuations joined, comments and blanks left out."""
    begun, number = list[str](), 0
    for at, line in enumerate([*text.splitlines(), ""], start=1):
        number = number if begun else at
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            begun += [line[:-1], " "]
            continue
        whole = _COMMENT.sub("", "".join([*begun, line])).strip()
        begun = []
        if whole:
            yield number, whole
