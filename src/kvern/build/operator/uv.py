"""uv's own configuration files, read here: handed to uv whole, some of their keys would make a wrong environment.

`[pip] target` gave an empty environment and packages elsewhere; `no-emit-package` and `python-platform` a lock that
lacked some; `emit-index-url` an index's password in a file that functions can read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import tomllib

from kvern.build.operator.found import Operator
from kvern.build.operator.places import is_there, why_unreadable

Table = dict[str, object]

_HONOURED = {
    "index", "index-url", "extra-index-url", "no-index", "find-links", "index-strategy", "keyring-provider", "offline",
    "http-proxy", "https-proxy", "no-proxy", "allow-insecure-host", "native-tls", "system-certs", "no-cache",
    "cache-dir", "resolution", "prerelease", "fork-strategy", "exclude-newer", "exclude-newer-package",
    "torch-backend", "constraint-dependencies", "override-dependencies", "exclude-dependencies",
    "build-constraint-dependencies", "no-build", "no-build-package", "no-binary", "no-binary-package", "only-binary",
    "concurrent-downloads", "concurrent-builds", "concurrent-installs", "pip",
}  # fmt: skip
_HARMLESS = {
    "preview", "preview-features", "python-preference", "python-downloads", "link-mode", "compile-bytecode",
    "python-install-mirror", "pypy-install-mirror", "graalpy-install-mirror", "pyodide-install-mirror",
    "python-downloads-json-url", "publish-url", "trusted-publishing", "check-url", "add-bounds", "audit", "cache-keys",
    "require-hashes", "verify-hashes", "generate-hashes", "no-header", "no-annotate", "annotation-style", "strict",
    "custom-compile-command", "upgrade", "upgrade-package", "reinstall", "reinstall-package", "no-sources",
    "no-sources-package", "build-backend", "break-system-packages",
}  # fmt: skip
"""Keys that change nothing of what is installed, or say what Kvern does anyway."""

_IGNORED = {
    "target", "prefix", "system", "python", "python-version", "python-platform", "universal", "extra", "all-extras",
    "no-extra", "group", "no-deps", "no-emit-package", "emit-index-url", "emit-find-links", "emit-build-options",
    "emit-marker-expression", "emit-index-annotation", "output-file", "no-strip-extras", "no-strip-markers",
    "no-build-isolation", "no-build-isolation-package", "config-settings", "config-settings-package",
    "extra-build-dependencies", "extra-build-variables", "dependency-metadata", "prerelease-package",
    "require-build-hashes", "required-version", "environments", "required-environments", "allow-empty-requirements",
    "minimum-libc-version",
}  # fmt: skip
_OF_INDEX = {"url", "name", "default", "explicit", "format", "ignore-error-codes"}


@dataclass(slots=True)
class UvSettings:
    """The keys that have a meaning here, merged as uv merges its files: lists add up, else the user's file wins."""

    values: dict[str, list[tuple[object, str, Path]]]
    """By key: each value with where it stands and in which folder, the strongest first."""

    def all(self, key: str, found: Operator) -> Iterator[tuple[str, str, Path]]:
        """Each word of a key that holds a list, with where it stands and in which folder."""
        for value, where, folder in self.values.get(key, ()):
            if isinstance(value, list):
                for word in cast("list[object]", value):
                    if isinstance(word, str):
                        yield word, where, folder
                    else:
                        found.refuse(where, "must be a list of texts")
            elif isinstance(value, str):
                yield value, where, folder
            elif not isinstance(value, bool):
                found.refuse(where, "must be a list of texts")

    def text(self, key: str, found: Operator) -> tuple[str, str, Path] | None:
        """A key that holds one word or number, with where it stands and in which folder."""
        for value, where, folder in self.values.get(key, ()):
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                if value.__class__.__name__ in ("datetime", "date"):
                    return str(value).replace(" ", "T"), where, folder
                found.refuse(where, "must be one word")
                return None
            return str(value), where, folder
        return None

    def is_set(self, key: str, found: Operator) -> bool:
        """A key that holds true or false."""
        for value, where, _ in self.values.get(key, ()):
            if not isinstance(value, bool):
                found.refuse(where, "must be true or false")
                return False
            return value
        return False

    def indexes(self, found: Operator) -> Iterator[tuple[Table, str, Path]]:
        """The tables of `index`."""
        for value, where, folder in self.values.get("index", ()):
            for table in cast("list[object]", value) if isinstance(value, list) else [value]:
                if isinstance(table, dict) and isinstance(cast("Table", table).get("url"), str):
                    yield cast("Table", table), where, folder
                else:
                    found.refuse(where, "each must have a url")


def uv_settings(found: Operator, environ: Mapping[str, str], home: Path) -> UvSettings:
    """What uv's files set; what has no meaning here is remarked on in `found`, what cannot be read is a problem."""
    settings = UvSettings({})
    top: list[tuple[Table, str, Path]] = []
    pip: list[tuple[Table, str, Path]] = []
    for file in _files(found, environ, home):
        table = _read(file, found)
        if table is None:
            continue
        top.append((table, "", file))
        if isinstance(table.get("pip"), dict):
            pip.append((cast("Table", table["pip"]), "[pip] ", file))
    for table, prefix, file in [*pip, *top]:
        for key, value in table.items():
            where = f"{file}, {prefix}{key}"
            if key in _HONOURED and not (prefix and key == "pip"):
                settings.values.setdefault(key, []).append((value, where, file.parent))
            elif key in _IGNORED:
                found.remark(where, "has no effect here: Kvern decides itself what is installed, and where")
            elif key not in _HARMLESS:
                _unknown(found, key, where)
    return settings


def _unknown(found: Operator, key: str, where: str) -> None:
    # A slip in the name of an index would have packages come from another one.
    near = difflib.get_close_matches(key.lower().replace("_", "-"), _HONOURED - {"pip"}, n=1, cutoff=0.85)
    if near:
        found.refuse(where, f"uv knows no such key; did you mean {near[0]}? Mend it or take it out")
    else:
        found.remark(where, "is no key that uv has here; it is left out")


def _read(file: Path, found: Operator) -> Table | None:
    reason = why_unreadable(file)
    if reason:
        found.refuse(str(file), f"{reason}; make it readable for it, or set UV_NO_CONFIG=1 for the service")
        return None
    try:
        with file.open("rb") as opened:
            return cast("Table", tomllib.load(opened))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError, RecursionError) as error:
        at = str(error).rpartition("(at ")[2].rstrip(")") if "(at " in str(error) else ""
        where = f" at {at}" if at else ""
        found.refuse(str(file), f"uv's settings are no TOML{where}; mend the file, uv refuses it as well")
        return None


def _files(found: Operator, environ: Mapping[str, str], home: Path) -> list[Path]:
    """The user's file and the first of the system's, or the one that is chosen (uv's guide, Configuration files)."""
    if environ.get("UV_CONFIG_FILE"):
        file = Path(environ["UV_CONFIG_FILE"]).absolute()
        if not is_there(file):
            found.refuse("UV_CONFIG_FILE", f"{file} is not there, or its folder cannot be entered")
            return []
        return [file]
    if environ.get("UV_NO_CONFIG", "").lower() not in ("", "0", "false", "no", "off"):
        return []
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "uv" / "uv.toml"
    system = [Path(folder) for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if folder]
    others = [folder / "uv" / "uv.toml" for folder in (*system, Path("/etc"))]
    return [file for file in (user, *[file for file in others if is_there(file)][:1]) if is_there(file)]


def index_remarks(found: Operator, table: Table, where: str) -> None:
    """Remark on what an index's table says that has no meaning here."""
    for key in table.keys() - _OF_INDEX:
        found.remark(f"{where} {key}", "has no effect here")
