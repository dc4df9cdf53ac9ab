"""A `pylock.toml` (PEP 751): each package at the version, with the hashes, that the lock has for this Python."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from packaging.markers import Environment
from packaging.pylock import Package, Pylock, PylockUnsupportedVersionError, PylockValidationError

from kvern.build.errors import RequirementsError
from kvern.build.requirement_file import RequirementFile
from kvern.build.requirements import Requirements, index
from kvern.build.text import read_text
from kvern.build.toml import read_toml

FILE = "pylock.toml"
_LARGEST = 5_000_000
_MOST = 2_000
_PUBLIC = "https://pypi.org/simple"

logging.getLogger("packaging.pylock").setLevel(logging.ERROR)


def lock(code: Path, version: str, found: Requirements) -> None:
    """Take what the lock lists for a Python.

    The packages are asked of the service's indexes and of those that the lock names, and must have its hashes.

    Args:
        code: the unpacked bundle.
        version: of the Python that the function will run under.
        found: takes the requirements.

    Raises:
        RequirementsError: it is not understood, not allowed, or for another Python. The message names file and line.
    """
    text = read_text(code / FILE, FILE, _LARGEST)
    try:
        locked = Pylock.from_dict(read_toml(text, FILE))
    except PylockUnsupportedVersionError as error:
        raise RequirementsError(f"{FILE}: {error}.") from None
    except (PylockValidationError, RecursionError) as error:
        raise RequirementsError(f"{FILE} is no lock as PEP 751 has it: {str(error)[:300]}.") from None
    if len(locked.packages) > _MOST:
        raise RequirementsError(f"{FILE} has {len(locked.packages)} packages; at most {_MOST} are allowed.")
    if locked.requires_python is not None and not locked.requires_python.contains(version, prereleases=True):
        raise RequirementsError(
            f"{FILE}: it needs Python {locked.requires_python}, and the function's is {version}; "
            "choose another runtime."
        )
    series = ".".join(version.split(".")[:2])
    python: Environment = {  # type: ignore[typeddict-item]
        "python_version": series,
        "python_full_version": version,
        "implementation_version": version,
    }
    groups = {"extras": frozenset[str](), "dependency_groups": frozenset(locked.default_groups or ())}
    numbers = _lines(text)
    reader = RequirementFile(code, found)
    for package, number in zip(locked.packages, numbers, strict=False):
        where = f"{FILE}, line {number}"
        if package.marker is None or package.marker.evaluate({**python, **groups}, context="lock_file"):  # type: ignore[arg-type]
            _take(package, where, reader, found)


def _take(package: Package, where: str, reader: RequirementFile, found: Requirements) -> None:
    if package.directory is not None:
        if PurePosixPath(package.directory.path) != PurePosixPath("."):
            raise RequirementsError(
                f"{where}: folders cannot be installed; what lies in the zip can be imported as it is."
            )
        found.notes.append(f"{where}: {package.name} is the bundle itself, which can be imported as it is.")
        return
    hashes: set[str] = set()
    if package.vcs is not None:
        if package.vcs.type != "git" or package.vcs.url is None:
            raise RequirementsError(f"{where}: of version control only URLs of git are read.")
        reader.add(f"{package.name} @ git+{package.vcs.url}@{package.vcs.commit_id}", where)
    elif package.archive is not None:
        place = package.archive.url or package.archive.path
        reader.add(f"{package.name} @ {place}", where)
        hashes |= _hashes(package.archive.hashes)
    elif package.version is not None:
        reader.add(f"{package.name}=={package.version}", where)
        for wheel in package.wheels or ():
            hashes |= _hashes(wheel.hashes)
            if wheel.path is not None:
                reader.links(str(PurePosixPath(wheel.path).parent), where)
        if package.sdist is not None:
            hashes |= _hashes(package.sdist.hashes)
        if package.index and package.index.rstrip("/") not in (_PUBLIC, *found.extra_index_urls):
            found.extra_index_urls.append(index(package.index.rstrip("/"), where))
    else:
        raise RequirementsError(f"{where}: {package.name} has no version.")
    if hashes:
        found.hashes.setdefault(package.name, set()).update(hashes)


def _hashes(given: object) -> set[str]:
    return {f"{name}:{digest}".lower() for name, digest in dict(given).items()}  # type: ignore[call-overload]


def _lines(text: str) -> Iterator[int]:
    """The number of the line in which each package begins."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip().replace(" ", "").startswith("[[packages]]"):
            yield number
    while True:
        yield 1
