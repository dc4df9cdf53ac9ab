"""From where this machine takes packages: the part of its pip's and uv's settings that set-up, demo and tests keep.

The rest of those settings is for the packages of its users: a constraint, a target folder, another environment or a
demand for hashes would change what is installed here, or where, and is left out. Standard library only, since it is
needed before anything is installed.
"""

from __future__ import annotations

import configparser
import contextlib
import netrc
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import tomllib

Environment = dict[str, str]

ROOT = Path(__file__).resolve().parents[1]
ETC = Path("/etc")
STRANGE = (
    "PIP_",
    "UV_",
    "PYTHON",
    "CONDA_",
    "VIRTUAL_ENV",
    "PYRIGHT_",
    "RUFF_",
    "KVERN_",
    "CDF_",
    "COGNITE_",
    "IDP_",
    "OTEL_",
)
"""Beginnings of the names of variables that are about other projects, or about a user's own service."""

_NUMBERS = (
    "UV_HTTP_TIMEOUT",
    "UV_HTTP_CONNECT_TIMEOUT",
    "UV_HTTP_RETRIES",
    "UV_REQUEST_TIMEOUT",
    "UV_CONCURRENT_DOWNLOADS",
)
_SWITCHES = ("UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_OFFLINE")
_SWITCHED = ("1", "t", "true", "y", "yes", "on", "0", "f", "false", "n", "no", "off")
_LOGIN = re.compile(r"UV_INDEX_(\w+)_(USERNAME|PASSWORD)")
_SCALARS = ("index-url", "keyring-provider", "cache-dir", "http-proxy", "https-proxy", "no-proxy")


@dataclass(slots=True)
class Sources:
    """Where packages come from on this machine, and how they are reached.

    Args:
        index: the URL of the default index; None for the public one.
        indexes: URLs of further indexes.
        links: URLs of pages and folders with packages.
        hosts: hosts that need no valid certificate.
        links_alone: whether the machine's pip is told to ask no index.
        logins: the file with logins, when there is one.
        network: proxies, certificates, time limits, keyring, as uv's environment.
        cache: the folder of uv's cache; None for one of this clone.
    """

    index: str | None = None
    indexes: list[str] = field(default_factory=list[str])
    links: list[str] = field(default_factory=list[str])
    hosts: list[str] = field(default_factory=list[str])
    links_alone: bool = False
    logins: Path | None = None
    network: Environment = field(default_factory=dict[str, str])
    cache: Path | None = None

    def for_pip(self) -> Environment:
        """As environment of pip, which then reads no file."""
        told = {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
        told["PIP_INDEX_URL"] = self.index or ""
        told["PIP_EXTRA_INDEX_URL"] = " ".join(self.indexes)
        told["PIP_FIND_LINKS"] = " ".join(self.links)
        told["PIP_TRUSTED_HOST"] = " ".join(self.hosts)
        network = self.network
        told["PIP_TIMEOUT"] = network.get("UV_HTTP_TIMEOUT", "")
        told["PIP_RETRIES"] = network.get("UV_HTTP_RETRIES", "")
        told["PIP_CERT"] = network.get("SSL_CERT_FILE", "")
        told["PIP_CLIENT_CERT"] = network.get("SSL_CLIENT_CERT", "")
        told["PIP_KEYRING_PROVIDER"] = network.get("UV_KEYRING_PROVIDER", "")
        return {name: value for name, value in told.items() if value}

    def for_uv(self) -> Environment:
        """As environment of uv, which then reads no file, and looks at all places as pip does."""
        told = {"UV_NO_CONFIG": "1", "UV_INDEX_STRATEGY": "unsafe-best-match", **self.network}
        told["UV_DEFAULT_INDEX"] = self.index or ""
        told["UV_INDEX"] = " ".join(self.indexes)
        told["UV_FIND_LINKS"] = ",".join(self.links)
        told["UV_INSECURE_HOST"] = " ".join(self.hosts)
        told["UV_CACHE_DIR"] = str(self.cache or ROOT / ".make" / "cache")
        return {name: value for name, value in told.items() if value}


def plain(environ: Mapping[str, str]) -> Environment:
    """The environment less what other projects, and a user's own service, need of it."""
    return {name: value for name, value in environ.items() if not name.startswith(STRANGE)}


def home(folder: Path, sources: Sources) -> Environment:
    """Make a home folder in which nothing lies but logins to the indexes; the variables that lead to it."""
    names = {urlsplit(url).hostname for url in (sources.index, *sources.indexes, *sources.links) if url}
    lines = [
        f"machine {name} login {login[0]} password {login[2]}\n"
        for name in sorted(filter(None, names))
        if sources.logins and (login := _login(sources.logins, name))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    if lines:
        (folder / ".netrc").touch(0o600)
        (folder / ".netrc").write_text("".join(lines))
    return {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / ".config"), "XDG_CONFIG_DIRS": str(folder / "etc")}


def without_proxy_here(environ: Mapping[str, str]) -> Environment:
    """Variables by which no proxy stands between programs of this machine."""
    said = [environ[name] for name in ("no_proxy", "NO_PROXY") if environ.get(name)]
    hosts = ",".join(dict.fromkeys([*",".join(said).split(","), "127.0.0.1", "localhost", "::1"])).strip(",")
    return {"NO_PROXY": hosts, "no_proxy": hosts}


def sources(environ: Mapping[str, str]) -> Sources:
    """Read the machine's settings; a file, a value or a path that cannot be used is left out.

    Args:
        environ: the caller's environment.
    """
    place = Path(environ.get("HOME") or "/nonexistent")
    pip = _pip_settings(environ, place)
    uv = _uv_settings(environ, place)
    found = Sources()

    logins = _uv_logins(environ)
    found.index = (
        _url(environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or "", logins)
        or uv.scalars.get("index-url")
        or pip.get("index-url")
        or None
    )
    further = [*_words(environ, "UV_INDEX"), *_words(environ, "UV_EXTRA_INDEX_URL")]
    named = [_url(word, logins) for word in further]
    found.indexes = _there([*named, *uv.indexes, *pip.get("extra-index-url", "").split()])
    links = [*environ.get("UV_FIND_LINKS", "").split(","), *uv.links, *pip.get("find-links", "").split()]
    found.links = _there(links)
    hosts = [*_words(environ, "UV_INSECURE_HOST"), *uv.hosts, *pip.get("trusted-host", "").split()]
    found.hosts = list(dict.fromkeys(hosts))
    found.links_alone = pip.get("no-index", "").lower() in ("1", "yes", "true", "on", "t", "y")
    kept = Path(environ.get("NETRC") or place / ".netrc")
    found.logins = kept if os.access(kept, os.R_OK) else None
    found.network = _network(environ, pip, uv)
    caches = [environ.get("UV_CACHE_DIR"), uv.scalars.get("cache-dir")]
    beside = environ.get("XDG_CACHE_HOME") or (place / ".cache" if place.is_dir() else None)
    caches.append(str(Path(beside) / "uv") if beside else None)  # a home that is not there is not made
    chosen = next(filter(None, caches), None)
    found.cache = _writable(Path(chosen).absolute()) if chosen else None
    return found


def _network(environ: Mapping[str, str], pip: Mapping[str, str], uv: _Uv) -> Environment:
    found: Environment = {}
    for name in _NUMBERS:
        with contextlib.suppress(KeyError, ValueError):
            found[name] = str(int(environ[name]))
    with contextlib.suppress(KeyError, ValueError):
        found.setdefault("UV_HTTP_TIMEOUT", str(max(1, int(float(pip["timeout"])))))
    with contextlib.suppress(KeyError, ValueError):
        found.setdefault("UV_HTTP_RETRIES", str(int(pip["retries"])))
    for name in _SWITCHES:
        if environ.get(name, "").lower() in _SWITCHED:
            found[name] = environ[name]
    for name in uv.switches:
        found.setdefault(name, "1")
    keyring = (environ.get("UV_KEYRING_PROVIDER"), uv.scalars.get("keyring-provider"), pip.get("keyring-provider"))
    if "subprocess" in keyring:
        found["UV_KEYRING_PROVIDER"] = "subprocess"

    certificates = [environ.get("SSL_CERT_FILE"), pip.get("cert")]
    certificates += [environ.get("REQUESTS_CA_BUNDLE"), environ.get("CURL_CA_BUNDLE")]
    for path in filter(None, certificates):
        if os.access(path, os.R_OK):
            found["SSL_CERT_DIR" if Path(path).is_dir() else "SSL_CERT_FILE"] = str(Path(path).absolute())
            break
    for path in filter(None, (environ.get("SSL_CLIENT_CERT"), pip.get("client-cert"))):
        if os.access(path, os.R_OK):
            found["SSL_CLIENT_CERT"] = str(Path(path).absolute())
            break

    proxy = pip.get("proxy", "")
    proxy = proxy if not proxy or "://" in proxy else f"http://{proxy}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        told = uv.scalars.get(name.lower().replace("_", "-")) or (proxy if name != "NO_PROXY" else "")
        if told and not (environ.get(name) or environ.get(name.lower()) or environ.get("ALL_PROXY")):
            found[name] = told
    return found


def _pip_settings(environ: Mapping[str, str], place: Path) -> dict[str, str]:
    """pip's settings for installing: its files in pip's order, then the environment."""
    settings: dict[str, str] = {}
    for file in _pip_files(environ, place):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                settings |= {_option(name): value for name, value in parser.items(section)}
    settings |= {_option(name[4:]): value for name, value in environ.items() if name.startswith("PIP_") and value}
    return settings


def _option(name: str) -> str:
    name = name.lower().replace("_", "-").removeprefix("--")
    return {"pypi-url": "index-url", "default-timeout": "timeout"}.get(name, name)


def _pip_files(environ: Mapping[str, str], place: Path) -> Iterator[Path]:
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return
    for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"):
        yield Path(folder) / "pip" / "pip.conf"
    yield ETC / "pip.conf"
    yield place / ".pip" / "pip.conf"
    yield Path(environ.get("XDG_CONFIG_HOME") or place / ".config") / "pip" / "pip.conf"
    for prefix in dict.fromkeys(filter(None, (sys.base_prefix, environ.get("VIRTUAL_ENV")))):
        yield Path(prefix) / "pip.conf"
    if chosen:
        yield Path(chosen)


@dataclass(slots=True)
class _Uv:
    """What is taken from uv's files."""

    scalars: dict[str, str] = field(default_factory=dict[str, str])
    indexes: list[str] = field(default_factory=list[str])
    links: list[str] = field(default_factory=list[str])
    hosts: list[str] = field(default_factory=list[str])
    switches: list[str] = field(default_factory=list[str])


def _uv_settings(environ: Mapping[str, str], place: Path) -> _Uv:
    """uv's files, the one that wins first."""
    found = _Uv()
    if environ.get("UV_NO_CONFIG"):
        return found
    if environ.get("UV_CONFIG_FILE"):
        files = [Path(environ["UV_CONFIG_FILE"]).absolute()]
    else:
        folders = [environ.get("XDG_CONFIG_HOME") or str(place / ".config")]
        folders += [*environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"), str(ETC)]
        files = [ROOT / "uv.toml", *(Path(folder) / "uv" / "uv.toml" for folder in folders)]
    for file in files:
        try:
            settings = cast("dict[str, object]", tomllib.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
        for table in (settings, settings.get("pip")):
            if isinstance(table, dict):
                _take_table(found, cast("Mapping[str, object]", table), file.parent)
    return found


def _take_table(found: _Uv, table: Mapping[str, object], folder: Path) -> None:
    for name in _SCALARS:
        value = table.get(name)
        if isinstance(value, str):
            found.scalars.setdefault(name, str(folder / value) if name == "cache-dir" else value)
    for name in _SWITCHES:
        if table.get(name.removeprefix("UV_").lower().replace("_", "-")) is True:
            found.switches.append(name)
    found.indexes += _texts(table.get("extra-index-url"))
    found.links += [_beside(folder, link) for link in _texts(table.get("find-links"))]
    found.hosts += _texts(table.get("allow-insecure-host"))
    for index in _tables(table.get("index")):
        url = index.get("url")
        if not isinstance(url, str) or index.get("explicit") is True:
            continue
        if index.get("format") == "flat":
            found.links.append(_beside(folder, url))
        elif index.get("default") is True:
            found.scalars.setdefault("index-url", url)
        else:
            found.indexes.append(url)


def _beside(folder: Path, place: str) -> str:
    return place if "://" in place else str(folder / place)


def _tables(value: object) -> list[Mapping[str, object]]:
    values = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("Mapping[str, object]", table) for table in values if isinstance(table, dict)]


def _texts(value: object) -> list[str]:
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def _words(environ: Mapping[str, str], name: str) -> list[str]:
    return environ.get(name, "").split()


def _uv_logins(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """By the name of an index, in capitals, the user and the password that uv's environment has for it."""
    logins: dict[str, dict[str, str]] = {}
    for name, value in environ.items():
        if match := _LOGIN.fullmatch(name):
            logins.setdefault(match[1], {})[match[2]] = value
    return logins


def _url(word: str, logins: Mapping[str, Mapping[str, str]]) -> str:
    """The URL in `name=url` or `url`, with the login that there is for the name."""
    named = re.match(r"([\w.-]+)=(.*)", word)
    if not named:
        return word
    login = logins.get(re.sub(r"\W", "_", named[1]).upper())
    if not login:
        return named[2]
    parts = urlsplit(named[2])
    user = ":".join(quote(login.get(key, ""), safe="") for key in ("USERNAME", "PASSWORD"))
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}"))


def _there(places: Iterable[str]) -> list[str]:
    """As URLs, each once, less folders that are not there, which uv takes for an error and pip does not."""
    found: dict[str, None] = {}
    for place in filter(None, places):
        path = Path(unquote(urlsplit(place).path)) if place.startswith("file:") else Path(place).absolute()
        if "://" in place and not place.startswith("file:"):
            found[place] = None
        elif os.access(path, os.R_OK):
            found[f"file://{quote(str(path))}".replace(",", "%2C")] = None
    return list(found)


def _login(file: Path, host: str) -> tuple[str, str | None, str | None] | None:
    with contextlib.suppress(OSError, ValueError, netrc.NetrcParseError):
        return netrc.netrc(file).authenticators(host)
    return None


def _writable(folder: Path) -> Path | None:
    """The folder, when files can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None
