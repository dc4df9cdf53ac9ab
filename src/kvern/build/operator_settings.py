"""What the operator of this machine has set for installing packages: pip's settings, uv's, proxies, certificates."""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import quote, unquote, urlsplit

import tomllib

_NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_UV = (
    "UV_CREDENTIALS_DIR",
    "UV_HTTP_CONNECT_TIMEOUT",
    "UV_HTTP_RETRIES",
    "UV_HTTP_TIMEOUT",
    "UV_INDEX_STRATEGY",
    "UV_KEYRING_PROVIDER",
    "UV_NATIVE_TLS",
    "UV_NO_CONFIG",
    "UV_OFFLINE",
    "UV_REQUEST_TIMEOUT",
    "UV_SYSTEM_CERTS",
    "UV_TORCH_BACKEND",
)
_UV_FILES = ("UV_BUILD_CONSTRAINT", "UV_CONFIG_FILE")
_DECIDING = {"UV_EXCLUDE_NEWER": "--exclude-newer", "UV_PRERELEASE": "--prerelease", "UV_RESOLUTION": "--resolution"}
_DECIDING_FILES = {"UV_CONSTRAINT": "--constraints", "UV_OVERRIDE": "--overrides", "UV_EXCLUDE": "--excludes"}
_UV_LOGIN = re.compile(r"^UV_INDEX_\w+_(USERNAME|PASSWORD)$")
_LINK = re.compile(r"""href=["']([^"'#?]+)""", re.I)
_LOGIN_URL = re.compile(r"[a-z+]+://[^\s\"'/@]+@[^\s\"']+")


@dataclass(slots=True)
class Operator:
    """The operator's settings, in the form in which uv takes them.

    Args:
        index_url: the default index, None for uv's own.
        indexes: further indexes, as words of `UV_INDEX` (`url` or `name=url`).
        find_links: folders and pages, as URLs.
        trusted_hosts: hosts that need no valid certificate.
        no_index: whether only links and direct URLs may be used.
        env: all else that holds whenever uv runs, as its environment.
        deciding: arguments of uv for what decides versions; only for resolving, since a lock is installed as it is.
        files: what uv must be able to read for that: certificates, configuration, folders of packages.
        netrc: the file with logins, when there is one.
        secrets: words that must not be shown.
        urls: further URLs that may hold credentials.
    """

    index_url: str | None = None
    indexes: list[str] = field(default_factory=list[str])
    find_links: list[str] = field(default_factory=list[str])
    trusted_hosts: list[str] = field(default_factory=list[str])
    no_index: bool = False
    env: dict[str, str] = field(default_factory=dict[str, str])
    deciding: list[str] = field(default_factory=list[str])
    files: list[Path] = field(default_factory=list[Path])
    netrc: Path | None = None
    secrets: list[str] = field(default_factory=list[str])
    urls: list[str] = field(default_factory=list[str])


def operator_settings(environ: Mapping[str, str]) -> Operator:
    """Read the settings anew, so that a change needs no restart.

    uv's settings win over pip's where both set the same. Folders that do not exist are left out, as pip does.

    Args:
        environ: the server's environment: `UV_*`, `PIP_*`, `*_PROXY`, `SSL_CERT_FILE`, `SSL_CERT_DIR`,
            `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`, `NETRC`, `XDG_CONFIG_HOME`, `XDG_CONFIG_DIRS`, `HOME`.
    """
    home = Path(environ.get("HOME") or Path.home())
    found = Operator()
    _take_environment(found, environ)
    has_own_index = _take_uv_files(found, environ, home)
    pip = _pip_settings(environ, home)

    found.index_url = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    if not found.index_url and not has_own_index:
        found.index_url = pip.get("index-url")
    indexes = [
        *_words(environ, "UV_INDEX"),
        *_words(environ, "UV_EXTRA_INDEX_URL"),
        *pip.get("extra-index-url", "").split(),
    ]
    found.indexes = [index for index in indexes if _exists(index.partition("=")[2] or index)]
    links = [*environ.get("UV_FIND_LINKS", "").split(","), *pip.get("find-links", "").split()]
    found.find_links = [_as_url(link) for link in links if link and _exists(link)]
    found.trusted_hosts = [*_words(environ, "UV_INSECURE_HOST"), *pip.get("trusted-host", "").split()]
    _take_pip(found, pip)

    found.files += [
        path for url in (*found.indexes, *found.find_links) if (path := _local(url.partition("=")[2] or url))
    ]
    netrc = Path(environ.get("NETRC") or home / ".netrc")
    found.netrc = netrc if netrc.is_file() else None
    found.urls += [found.index_url or "", *(index.partition("=")[2] or index for index in found.indexes)]
    found.urls += [*found.find_links, *(found.env.get(name, "") for name in _both_cases(_NETWORK))]
    return found


def folders_behind(path: Path) -> list[Path]:
    """The folders in which the files of a local package index lie, itself included: its pages may link anywhere.

    Args:
        path: the index (a folder with a page for each project, PEP 503), or any other path, which is given back alone.
    """
    found = {path}
    for page in path.glob("*/index.html"):
        with contextlib.suppress(OSError):
            for link in _LINK.findall(page.read_text(errors="replace")):
                is_file = link.startswith("file:")
                target = _local(link) if is_file or "://" in link else page.parent / unquote(link)
                if target is not None:
                    found.add(Path(os.path.normpath(target)).parent)
    return sorted(folder for folder in found if folder == path or not folder.is_relative_to(path))


def _take_environment(found: Operator, environ: Mapping[str, str]) -> None:
    for name in (*_UV, *_both_cases(_NETWORK), "SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT"):
        if environ.get(name):
            found.env[name] = environ[name]
    if "SSL_CERT_FILE" not in found.env:
        bundle = environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
        if bundle:
            found.env["SSL_CERT_DIR" if Path(bundle).is_dir() else "SSL_CERT_FILE"] = bundle
    for name, value in environ.items():
        if _UV_LOGIN.match(name):
            found.env[name] = value
            if name.endswith("PASSWORD"):
                found.secrets.append(value)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT", "UV_CREDENTIALS_DIR"):
        if name in found.env:
            found.files += [Path(part).absolute() for part in found.env[name].split(os.pathsep)]
    for name in _UV_FILES:
        paths = [Path(word).absolute() for word in _words(environ, name)]
        if paths:
            found.env[name] = " ".join(map(str, paths))
            found.files += paths
    for name, option in _DECIDING.items():
        if environ.get(name):
            found.deciding += [option, environ[name]]
    for name, option in _DECIDING_FILES.items():
        _take_deciding_files(found, option, _words(environ, name))


def _take_uv_files(found: Operator, environ: Mapping[str, str], home: Path) -> bool:
    """Note uv's configuration files; whether one of them sets the default index."""
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    # uv looks for its file below this folder; HOME is another one in a build.
    found.env["XDG_CONFIG_HOME"] = str(config)
    if environ.get("XDG_CONFIG_DIRS"):
        found.env["XDG_CONFIG_DIRS"] = environ["XDG_CONFIG_DIRS"]
    if environ.get("UV_NO_CONFIG"):
        return False
    if environ.get("UV_CONFIG_FILE"):
        files = [Path(environ["UV_CONFIG_FILE"]).absolute()]
    else:
        system = [Path(folder) for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if folder]
        files = [folder / "uv" / "uv.toml" for folder in (config, *system, Path("/etc"))]
    has_index = False
    for file in files:
        try:
            text = file.read_text()
            settings = cast("dict[str, object]", tomllib.loads(text))
        except (OSError, ValueError):
            continue
        found.files.append(file)
        found.urls += _LOGIN_URL.findall(text)
        for table in (settings, settings.get("pip")):
            if isinstance(table, dict):
                table = cast("dict[str, object]", table)
                indexes = cast("list[dict[str, object]]", table.get("index") or [])
                has_index |= "index-url" in table or any(index.get("default") for index in indexes)
    return has_index


def _take_pip(found: Operator, pip: Mapping[str, str]) -> None:
    """Settings of pip that have a counterpart in uv's environment."""
    env = found.env
    if "timeout" in pip:
        env.setdefault("UV_HTTP_TIMEOUT", str(max(1, int(float(pip["timeout"])))))
    found.no_index = pip.get("no-index", "").lower() in ("1", "yes", "true", "on")
    if pip.get("proxy"):
        proxy = pip["proxy"] if "://" in pip["proxy"] else f"http://{pip['proxy']}"
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            if not {name, name.lower()} & env.keys():
                env[name] = proxy
    for option, name in (("cert", "SSL_CERT_FILE"), ("client-cert", "SSL_CLIENT_CERT")):
        if pip.get(option) and name not in env:
            path = Path(pip[option]).absolute()
            env["SSL_CERT_DIR" if name == "SSL_CERT_FILE" and path.is_dir() else name] = str(path)
            found.files.append(path)
    _take_deciding_files(found, "--constraints", pip.get("constraint", "").split())


def _take_deciding_files(found: Operator, option: str, places: Sequence[str]) -> None:
    for place in places:
        path = _local(place)
        found.deciding += [option, place if path is None else str(path)]
        if path is not None:
            found.files.append(path)


def _pip_settings(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """pip's settings for installing: its files in pip's order, the environment last (pip's guide, Configuration)."""
    settings: dict[str, str] = {}
    for file in _pip_files(environ, home):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                settings.update({_option(name): value for name, value in parser.items(section)})
    for name, value in environ.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE" and value:
            settings[_option(name.removeprefix("PIP_"))] = value
    return settings


def _option(name: str) -> str:
    name = name.lower().replace("_", "-").removeprefix("--")
    return {"pypi-url": "index-url", "default-timeout": "timeout"}.get(name, name)


def _pip_files(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return
    for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"):
        yield Path(folder) / "pip" / "pip.conf"
    yield Path("/etc/pip.conf")
    yield home / ".pip" / "pip.conf"
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    yield Path(sys.prefix) / "pip.conf"
    if chosen:
        yield Path(chosen)


def _words(environ: Mapping[str, str], name: str) -> list[str]:
    return environ.get(name, "").split()


def _both_cases(names: Sequence[str]) -> tuple[str, ...]:
    return (*names, *(name.lower() for name in names))


def _local(place: str) -> Path | None:
    """The path of a folder or `file:` URL; None for what lies elsewhere."""
    if place.startswith("file:"):
        return Path(unquote(urlsplit(place).path))
    return None if "://" in place else Path(place).absolute()


def _exists(place: str) -> bool:
    path = _local(place)
    return path is None or path.exists()


def _as_url(place: str) -> str:
    """As a URL without commas, which separate the words of `UV_FIND_LINKS`."""
    path = _local(place)
    return (place if path is None else f"file://{quote(str(path))}").replace(",", "%2C")
