"""What the operator of this machine has set for installing packages: pip's settings, uv's, proxies, certificates.

uv's variables go before its files, these before pip's variables, these before pip's files. Lists add up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from kvern.build.operator.certificates import take_certificates
from kvern.build.operator.found import Operator
from kvern.build.operator.pip import Setting, pip_settings
from kvern.build.operator.places import (
    as_url,
    expanded,
    home_of,
    is_there,
    local,
    named,
    split_paths,
    why_unreadable,
    with_included,
)
from kvern.build.operator.uv import UvSettings, index_remarks, uv_settings

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_LOGIN = re.compile(r"^UV_INDEX_\w+_(USERNAME|PASSWORD)$")
_LOGIN_URL = re.compile(r"[a-z+]+://[^\s\"'/@]+@[^\s\"']+")
_YES, _NO = ("1", "yes", "y", "true", "t", "on"), ("0", "no", "n", "false", "f", "off")
_LONGEST = 86_400
_OF_THE_SERVER = re.compile(r"^(KVERN_|UV_|PIP_|RUST_LOG$|VIRTUAL_ENV$|CONDA_PREFIX$|PYTHON(HOME|PATH)$)")

_WORDS: dict[str, tuple[str, Sequence[str]]] = {
    "index-strategy": ("UV_INDEX_STRATEGY", ("first-index", "unsafe-first-match", "unsafe-best-match")),
    "keyring-provider": ("UV_KEYRING_PROVIDER", ("disabled", "subprocess")),
    "resolution": ("UV_RESOLUTION", ("highest", "lowest", "lowest-direct")),
    "prerelease": (
        "UV_PRERELEASE",
        ("disallow", "allow", "if-necessary", "explicit", "if-necessary-or-explicit"),
    ),
    "fork-strategy": ("UV_FORK_STRATEGY", ("fewest", "requires-python")),
    "exclude-newer": ("UV_EXCLUDE_NEWER", ()),
    "torch-backend": ("UV_TORCH_BACKEND", ()),
}
"""Keys of one word: the variable that goes before them, and the words that uv knows."""

_NUMBERS = {
    "UV_HTTP_TIMEOUT": "",
    "UV_REQUEST_TIMEOUT": "",
    "UV_HTTP_CONNECT_TIMEOUT": "",
    "UV_HTTP_RETRIES": "",
    "UV_CONCURRENT_DOWNLOADS": "concurrent-downloads",
    "UV_CONCURRENT_BUILDS": "concurrent-builds",
    "UV_CONCURRENT_INSTALLS": "concurrent-installs",
}
"""Variables of one whole number, and the key that stands behind each."""

_FILES = {
    "--constraints": (("UV_CONSTRAINT",), "constraint-dependencies"),
    "--overrides": (("UV_OVERRIDE",), "override-dependencies"),
    "--excludes": (("UV_EXCLUDE", "UV_EXCLUDES"), "exclude-dependencies"),
    "--build-constraints": (("UV_BUILD_CONSTRAINT",), "build-constraint-dependencies"),
}
"""Options that take files: the variables that name some, and the key that holds such lines itself."""


def operator_settings(environ: Mapping[str, str]) -> Operator:
    """Read the settings anew, so that a change needs no restart. Never raises: see `problems` and `remarks`.

    Folders and indexes on this machine that are not there are left out, as pip does.

    Args:
        environ: the server's environment: `UV_*`, `PIP_*`, `*_PROXY`, `SSL_CERT_FILE`, `SSL_CERT_DIR`,
            `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`, `NETRC`, `XDG_CONFIG_HOME`, `XDG_CONFIG_DIRS`, `HOME`; with a
            keyring all else as well.
    """
    found = Operator()
    home = home_of(environ)
    pip = pip_settings(found, environ, home)
    uv = uv_settings(found, environ, home)
    _take_network(found, environ, uv, pip)
    take_certificates(found, environ, pip)
    _take_words(found, environ, uv, pip)
    _take_indexes(found, environ, uv, pip)
    _take_links(found, environ, uv, pip)
    _take_deciding_files(found, environ, uv, pip)
    _take_formats(found, environ, uv, pip)
    _take_cache(found, environ, uv)
    _take_logins(found, environ, home)
    found.urls += [named(index)[1] for index in (found.index_url or "", *found.indexes)]
    found.urls += [*found.find_links, *(found.env.get(name, "") for name in _both_cases(_PROXIES))]
    return found


def _take_network(found: Operator, environ: Mapping[str, str], uv: UvSettings, pip: Mapping[str, Setting]) -> None:
    for name in _both_cases(_PROXIES):
        if environ.get(name):
            found.env[name] = environ[name]
    # Where `uv auth login` keeps logins; the home folder is another one in a build.
    data = Path(environ.get("XDG_DATA_HOME") or home_of(environ) / ".local" / "share")
    kept = Path(environ.get("UV_CREDENTIALS_DIR") or data / "uv" / "credentials").absolute()
    if is_there(kept):
        found.env["UV_CREDENTIALS_DIR"] = str(kept)
    for key, name in (("http-proxy", "HTTP_PROXY"), ("https-proxy", "HTTPS_PROXY"), ("no-proxy", "NO_PROXY")):
        if not {name, name.lower()} & found.env.keys():
            words = [word for word, _, _ in uv.all(key, found)]
            if words:
                found.env[name] = ",".join(words if key == "no-proxy" else words[:1])
    if "proxy" in pip:
        proxy = pip["proxy"].value.strip()
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            if not {name, name.lower()} & found.env.keys():
                found.env[name] = proxy if "://" in proxy else f"http://{proxy}"
    for name, key in _NUMBERS.items():
        number = uv.text(key, found) if key else None
        value, where = (environ[name], name) if environ.get(name) else number[:2] if number else ("", "")
        least = 0 if name == "UV_HTTP_RETRIES" else 1
        if value and not (value.isdecimal() and value.isascii() and least <= int(value) <= _LONGEST):
            found.refuse(where, f"must be a whole number from {least} to {_LONGEST}, not {value[:40]!r}")
        elif value:
            found.env[name] = value
    if "timeout" in pip:
        try:
            seconds = float(pip["timeout"].value)
            if not 0 <= seconds < float("inf"):
                raise ValueError
            found.env.setdefault("UV_HTTP_TIMEOUT", str(min(_LONGEST, max(1, int(seconds)))))
        except ValueError:
            found.refuse(pip["timeout"].where, f"must be a number of seconds, not {pip['timeout'].value[:40]!r}")
    if "retries" in pip:
        value = pip["retries"].value.strip()
        if value.isdecimal() and value.isascii():
            found.env.setdefault("UV_HTTP_RETRIES", str(min(_LONGEST, int(value))))
        else:
            found.refuse(pip["retries"].where, f"must be a whole number, not {value[:40]!r}")
    offline = _flag(found, "UV_OFFLINE", environ)
    if offline if offline is not None else uv.is_set("offline", found):
        found.env["UV_OFFLINE"] = "1"
    for key, name in (("native-tls", "UV_NATIVE_TLS"), ("system-certs", "UV_SYSTEM_CERTS")):
        flag = _flag(found, name, environ)
        if flag if flag is not None else uv.is_set(key, found):
            found.env[name] = "1"


def _take_words(found: Operator, environ: Mapping[str, str], uv: UvSettings, pip: Mapping[str, Setting]) -> None:
    chosen: dict[str, tuple[str, str]] = {}
    for key, (name, words) in _WORDS.items():
        setting = uv.text(key, found)
        value, where = (environ[name], name) if environ.get(name) else setting[:2] if setting else ("", "")
        if value and words and value not in words:
            found.refuse(where, f"must be one of {', '.join(words)}, not {value[:40]!r}")
        elif value:
            chosen[key] = value, where
    if "keyring-provider" in pip and "keyring-provider" not in chosen:
        # pip's `auto` and `import` ask the same backends from within; uv has its command alone.
        value = pip["keyring-provider"].value.strip()
        chosen["keyring-provider"] = ("subprocess" if value in ("subprocess", "import") else "disabled", "")
    if "uploaded-prior-to" in pip:
        chosen.setdefault("exclude-newer", (pip["uploaded-prior-to"].value.strip(), pip["uploaded-prior-to"].where))
    if _is_yes(found, pip.get("pre")):
        chosen.setdefault("prerelease", ("allow", ""))
    found.strategy = chosen.get("index-strategy", (None, ""))[0]
    for key in ("resolution", "prerelease", "fork-strategy", "exclude-newer"):
        if key in chosen:
            found.deciding += [f"--{key}", chosen[key][0]]
    if "torch-backend" in chosen:
        # It says from which index torch comes, so whoever installs the lock needs it as well.
        found.env["UV_TORCH_BACKEND"] = chosen["torch-backend"][0]
    for value, where, _ in uv.values.get("exclude-newer-package", ()):
        if not isinstance(value, dict):
            found.refuse(where, "must be a table of packages and dates")
            continue
        for package, date in value.items():  # pyright: ignore[reportUnknownVariableType]
            word = "false" if date is False else str(date).replace(" ", "T")  # pyright: ignore[reportUnknownArgumentType]
            found.deciding += ["--exclude-newer-package", f"{package}={word}"]
    if chosen.get("keyring-provider", ("", ""))[0] == "subprocess":
        found.keyring = True
        found.env["UV_KEYRING_PROVIDER"] = "subprocess"
        # A keyring is a program of the operator's, with settings of its own in the home folder and the environment.
        found.keyring_env = {name: value for name, value in environ.items() if not _OF_THE_SERVER.match(name)}


def _take_indexes(found: Operator, environ: Mapping[str, str], uv: UvSettings, pip: Mapping[str, Setting]) -> None:
    default: tuple[str, str] | None = None
    indexes: list[tuple[str, str]] = []
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        if environ.get(name) and default is None:
            default = environ[name], name
    indexes += [(word, name) for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL") for word in environ.get(name, "").split()]
    for table, where, folder in uv.indexes(found):
        index_remarks(found, table, where)
        url = _from(str(table["url"]), folder)
        if table.get("explicit"):
            found.remark(where, "an explicit index has no effect here, since no package names it")
            continue
        if table.get("format") == "flat":
            found.find_links.append(as_url(url))
            continue
        word = f"{table['name']}={url}" if table.get("name") else url
        codes = table.get("ignore-error-codes")
        if isinstance(codes, list):
            found.forgiven[url] = {code for code in codes if isinstance(code, int)}  # pyright: ignore[reportUnknownVariableType]
        if table.get("default"):
            default = default or (word, where)
        else:
            indexes.append((word, where))
    url = uv.text("index-url", found)
    if url and default is None:
        default = _from(url[0], url[2]), url[1]
    if "index-url" in pip and default is None:
        default = pip["index-url"].value.strip(), pip["index-url"].where
    indexes += [(_from(word, folder), where) for word, where, folder in uv.all("extra-index-url", found)]
    if "extra-index-url" in pip:
        indexes += [(word, pip["extra-index-url"].where) for word in pip["extra-index-url"].value.split()]
    if default is not None:
        found.index_url = _index(found, *default)
    found.indexes = [word for index in dict.fromkeys(indexes) if (word := _index(found, *index))]
    found.no_index = uv.is_set("no-index", found) or _is_yes(found, pip.get("no-index"))
    hosts = [(word, "UV_INSECURE_HOST") for word in re.split(r"[\s,]+", environ.get("UV_INSECURE_HOST", ""))]
    hosts += [(word, where) for word, where, _ in uv.all("allow-insecure-host", found)]
    if "trusted-host" in pip:
        hosts += [(word, pip["trusted-host"].where) for word in pip["trusted-host"].value.split()]
    found.trusted_hosts = list(dict.fromkeys(word for word, _ in hosts if word))


def _index(found: Operator, index: str, where: str) -> str | None:
    """An index as a word of uv's variables; None when it is on this machine and not there."""
    name, url = named(index)
    try:
        scheme = urlsplit(url).scheme.lower() if "://" in url else "file"
    except ValueError:
        scheme = ""
    if scheme not in ("http", "https", "file"):
        found.refuse(where, "a package index must be an http://, https:// or file:// URL, or a folder")
        return None
    path = local(url)
    if path is not None and not _usable(found, path, where):
        return None
    return f"{name}={as_url(url)}" if name else as_url(url)


def _take_links(found: Operator, environ: Mapping[str, str], uv: UvSettings, pip: Mapping[str, Setting]) -> None:
    links = [(word.strip(), "UV_FIND_LINKS") for word in environ.get("UV_FIND_LINKS", "").split(",")]
    links += [(_from(word, folder), where) for word, where, folder in uv.all("find-links", found)]
    if "find-links" in pip:
        links += [(word, pip["find-links"].where) for word in split_paths(pip["find-links"].value)]
    for link, where in links:
        path = local(link) if link else None
        if link and (path is None or _usable(found, path, where)):
            found.find_links.append(as_url(link))


def _usable(found: Operator, path: Path, where: str) -> bool:
    """Whether a folder of packages is there; one that is, and cannot be read, is a problem."""
    reason = why_unreadable(path)
    if not reason:
        found.files.append(path)
        return True
    if reason.endswith("is not there"):
        found.remark(where, f"{reason}; it is left out, as pip does")
    else:
        found.refuse(where, f"{reason}; make it readable for it, or take it out")
    return False


def _take_deciding_files(
    found: Operator, environ: Mapping[str, str], uv: UvSettings, pip: Mapping[str, Setting]
) -> None:
    for option, (names, key) in _FILES.items():
        places = [(word, name) for name in names for word in split_paths(environ.get(name, ""))]
        setting = pip.get({"--constraints": "constraint", "--build-constraints": "build-constraint"}.get(option, ""))
        if setting is not None:
            places += [(word, setting.where) for word in split_paths(setting.value)]
        for place, where in places:
            path = local(place)
            files = with_included(path) if path is not None else []
            reason = next((reason for file in files if (reason := why_unreadable(file))), "")
            if not reason and path is not None and path.is_dir():
                reason = f"{path} is a folder"
            if reason:
                found.refuse(where, f"{reason}; mend that, or take it out")
                continue
            found.files += files
            found.urls.append(place if path is None else "")
            found.deciding_files.setdefault(option, []).append(place if path is None else str(path))
        lines = [line for line, _, _ in uv.all(key, found)]
        if lines:
            found.urls += _LOGIN_URL.findall("\n".join(lines))
            found.deciding_lines[option] = lines


def _take_formats(found: Operator, environ: Mapping[str, str], uv: UvSettings, pip: Mapping[str, Setting]) -> None:
    for packages, variable, key, listed in (
        (found.no_binary, "UV_NO_BINARY", "no-binary", "no-binary-package"),
        (found.only_binary, "UV_NO_BUILD", "no-build", "no-build-package"),
    ):
        if _flag(found, variable, environ) or any(value is True for value, _, _ in uv.values.get(key, ())):
            packages.append(":all:")
        packages.extend(environ.get(f"{variable}_PACKAGE", "").replace(",", " ").split())
        packages.extend(word for name in (key, listed) for word, _, _ in uv.all(name, found))
    found.only_binary += [word for word, _, _ in uv.all("only-binary", found)]
    for chosen, option in ((found.no_binary, "no-binary"), (found.only_binary, "only-binary")):
        for word in pip[option].value.replace(",", " ").split() if option in pip else ():
            if word == ":none:":
                chosen.clear()
            else:
                chosen.append(word)


def _take_cache(found: Operator, environ: Mapping[str, str], uv: UvSettings) -> None:
    flag = _flag(found, "UV_NO_CACHE", environ)
    found.no_cache = flag if flag is not None else uv.is_set("no-cache", found)
    folder = uv.text("cache-dir", found)
    if environ.get("UV_CACHE_DIR"):
        found.cache_dir = expanded(environ["UV_CACHE_DIR"]).absolute()
    elif folder:
        found.cache_dir = Path(_from(str(expanded(folder[0])), folder[2]))


def _take_logins(found: Operator, environ: Mapping[str, str], home: Path) -> None:
    for name, value in environ.items():
        if _LOGIN.match(name):
            found.env[name] = value
            if name.endswith("PASSWORD"):
                found.secrets.append(value)
    netrc = Path(environ["NETRC"]).absolute() if environ.get("NETRC") else home / ".netrc"
    if not is_there(netrc):
        if environ.get("NETRC"):
            found.remark("NETRC", f"{netrc} is not there, or its folder cannot be entered; it is left out")
        return
    reason = why_unreadable(netrc)
    if reason:
        found.refuse(str(netrc), f"{reason}; make it readable for it, or name another file in NETRC")
    elif netrc.is_file():
        found.netrc = netrc


def _from(place: str, folder: Path) -> str:
    """A place that a file names: a relative path is one from the file's folder."""
    is_relative = "://" not in place and not place.startswith(("file:", "/", "~"))
    return str(folder / place) if is_relative else place


def _flag(found: Operator, name: str, environ: Mapping[str, str]) -> bool | None:
    value = environ.get(name, "").strip()
    return _truth(found, value, name) if value else None


def _is_yes(found: Operator, setting: Setting | None) -> bool:
    return setting is not None and _truth(found, setting.value.strip(), setting.where)


def _truth(found: Operator, value: str, where: str) -> bool:
    if value.lower() not in (*_YES, *_NO):
        found.refuse(where, f"must be true or false, not {value[:40]!r}")
    return value.lower() in _YES


def _both_cases(names: Sequence[str]) -> tuple[str, ...]:
    return (*names, *(name.lower() for name in names))
