"""pip's settings for installing: its files in pip's order, its environment last (pip's guide, Configuration)."""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kvern.build.operator.found import Operator
from kvern.build.operator.places import is_there, why_unreadable

_HONOURED = {
    "index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "timeout", "retries", "proxy", "cert",
    "client-cert", "keyring-provider", "constraint", "build-constraint", "uploaded-prior-to", "pre", "no-binary",
    "only-binary",
}  # fmt: skip
_HARMLESS = {
    "disable-pip-version-check", "no-input", "quiet", "verbose", "no-color", "progress-bar", "log", "exists-action",
    "root-user-action", "break-system-packages", "no-warn-script-location", "no-warn-conflicts", "require-virtualenv",
    "debug", "no-python-version-warning", "compile", "no-compile", "prefer-binary", "require-hashes", "isolated",
    "cache-dir", "no-cache-dir", "upgrade", "upgrade-strategy", "no-clean", "resume-retries", "format", "columns",
    "use-pep517", "check-build-dependencies",
}  # fmt: skip
"""Settings that change nothing of what is installed, or say what Kvern does anyway."""

_ALIASES = {"pypi-url": "index-url", "default-timeout": "timeout"}
_LISTS = {"extra-index-url", "find-links", "trusted-host", "constraint", "build-constraint", "no-binary", "only-binary"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its value, and the file and key, or the variable, that sets it."""

    value: str
    where: str


def pip_settings(found: Operator, environ: Mapping[str, str], home: Path) -> dict[str, Setting]:
    """The settings that have a meaning here, by option; what has none is remarked on in `found`.

    A file that cannot be read or understood is a problem, as it is for pip: without it packages might come from
    another index than the operator wants.
    """
    sections: dict[str, dict[str, Setting]] = {"global": {}, "install": {}, "environment": {}}
    for file in _files(environ, home):
        _read(file, sections, found)
    for name, value in environ.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE" and value.strip():
            sections["environment"][_option(name.removeprefix("PIP_"))] = Setting(value, name)
    settings: dict[str, Setting] = {}
    for section in sections.values():
        settings.update(section)
    for option, setting in settings.items():
        if option not in _HONOURED | _HARMLESS:
            found.remark(setting.where, "has no effect here: Kvern decides itself where and how packages are put")
    return {option: setting for option, setting in settings.items() if option in _HONOURED}


def _read(file: Path, sections: dict[str, dict[str, Setting]], found: Operator) -> None:
    if not is_there(file):
        return
    reason = why_unreadable(file)
    if reason:
        found.refuse(str(file), f"{reason}; make it readable for it, or set PIP_CONFIG_FILE=/dev/null for the service")
        return
    if not file.is_file():
        return
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text(encoding="utf-8-sig"), source=str(file))
    except (configparser.Error, UnicodeDecodeError) as error:
        reason = type(error).__name__
        line = getattr(error, "lineno", None) or next((number for number, _ in getattr(error, "errors", ())), None)
        at = f" at line {line}" if line else ""
        # The error's own text may repeat a line, and a password with it.
        found.refuse(str(file), f"pip's settings cannot be read{at} ({reason}); mend the file, pip refuses it as well")
        return
    for section in ("global", "install"):
        if parser.has_section(section):
            for name, value in parser.items(section):
                if value and value.strip():
                    sections[section][_option(name)] = Setting(value, f"{file}, [{section}] {name}")


def _option(name: str) -> str:
    name = name.lower().replace("_", "-").removeprefix("--")
    return _ALIASES.get(name, name)


def _files(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return
    for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"):
        if folder:
            yield Path(folder) / "pip" / "pip.conf"
    yield Path("/etc/pip.conf")
    if not chosen or not is_there(Path(chosen)):
        yield home / ".pip" / "pip.conf"
        yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    yield Path(sys.prefix) / "pip.conf"
    if chosen:
        yield Path(chosen).absolute()
