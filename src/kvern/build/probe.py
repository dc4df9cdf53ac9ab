"""Whether package indexes let uv in, asked before it resolves.

Where several indexes are asked, uv takes a 401 or 403 of one for "not there" and goes on to the next. A password that
has run out would so have a package of an internal name come from the public index.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import netrc as netrc_format
import re
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Collection
from email.message import Message
from http.client import HTTPException
from typing import IO
from urllib.parse import unquote, urlsplit, urlunsplit

from kvern.build.errors import InstallError
from kvern.build.operator.places import named
from kvern.build.sources import Sources, is_public

_PATIENCE = 10.0
_MOST = 12
"""Packages that are asked for on each index."""


async def probe(sources: Sources, names: Collection[str]) -> None:
    """Ask each index that not everybody may publish on for the packages that are required.

    An index that does not answer is no fault here: uv will say so, better.

    Args:
        sources: where packages may come from.
        names: normalised names of packages.

    Raises:
        InstallError: an index refuses its login, or wants one.
    """
    words = sources.index_words
    is_alone = len(words) + ("UV_DEFAULT_INDEX" not in sources.env) < 2
    if sources.env.get("UV_OFFLINE") or is_alone:
        return  # with one index nothing can come from another
    asked = [
        (name, url)
        for name, url in (named(word) for word in words)
        if urlsplit(url).scheme in ("http", "https") and not is_public(url)
    ]
    chosen = sorted(names)[:_MOST]
    turns = asyncio.Semaphore(4)

    async def ask(name: str, url: str, package: str) -> None:
        async with turns:
            await asyncio.to_thread(_ask, sources, name, url, package)

    async with contextlib.AsyncExitStack() as stack:
        tasks = [asyncio.ensure_future(ask(*index, package)) for index in asked for package in chosen]
        for task in tasks:
            stack.callback(task.cancel)
        for task in tasks:
            await task


def _ask(sources: Sources, name: str, url: str, package: str) -> None:
    parts = urlsplit(url)
    login = _login(sources, name, url)
    if login is None and sources.keyring_env:
        return  # only uv's keyring knows it
    host = parts.netloc.rpartition("@")[2]
    page = urlunsplit((parts.scheme, host, f"{parts.path.rstrip('/')}/{package}/", parts.query, ""))
    request = urllib.request.Request(  # noqa: S310 - http or https, see above
        page, headers={"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.1"}
    )
    if login is not None:
        word = base64.b64encode(f"{login[0]}:{login[1]}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {word}")
    try:
        with _opener(sources, host).open(request, timeout=_PATIENCE):
            return
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
    except (OSError, ValueError, HTTPException):
        return
    # Without a login a 403 is what some stores of files say of everything that they do not have.
    refused = (401, 403) if login is not None else (401,)
    if status not in refused or status in sources.forgiven.get(url, ()):
        return
    what = "refuses the login that it is given" if login is not None else "wants a login, and none is set for it"
    raise InstallError(
        f"The requirements cannot be met: the package index {parts.scheme}://{host}/… {what} (HTTP {status} for "
        f"{package}). Nothing is taken from another index instead. Set the right login in its URL, in netrc or in "
        "UV_INDEX_<NAME>_USERNAME and _PASSWORD."
    )


def _login(sources: Sources, name: str, url: str) -> tuple[str, str] | None:
    """What uv would send: the URL's user and password, those of a named index, those of netrc."""
    parts = urlsplit(url)
    userinfo, at, _ = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    is_whole = password or (not sources.keyring_env and not _of_netrc(sources, parts.hostname or ""))
    if at and is_whole:
        return unquote(user), unquote(password)
    key = re.sub(r"[^A-Z0-9]", "_", name.upper())
    if name and f"UV_INDEX_{key}_PASSWORD" in sources.env:
        return sources.env.get(f"UV_INDEX_{key}_USERNAME", ""), sources.env[f"UV_INDEX_{key}_PASSWORD"]
    return _of_netrc(sources, parts.hostname or "")


def _of_netrc(sources: Sources, host: str) -> tuple[str, str] | None:
    if not sources.netrc:
        return None
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file, contextlib.suppress(netrc_format.NetrcParseError):
        file.write(sources.netrc)
        file.flush()
        found = netrc_format.netrc(file.name).authenticators(host)
        return (found[0], found[2]) if found else None
    return None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Whoever sends one elsewhere has let one in."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


def _opener(sources: Sources, host: str) -> urllib.request.OpenerDirector:
    env = sources.env
    context = ssl.create_default_context()
    with contextlib.suppress(OSError):
        if env.get("SSL_CERT_FILE") or env.get("SSL_CERT_DIR"):
            folder = env.get("SSL_CERT_DIR", "").split(":")[0] or None
            context.load_verify_locations(env.get("SSL_CERT_FILE"), folder)
        if env.get("SSL_CLIENT_CERT"):
            context.load_cert_chain(env["SSL_CLIENT_CERT"])
    if {host, host.partition(":")[0]} & set(env.get("UV_INSECURE_HOST", "").split()):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    proxies: dict[str, str] = {}
    bypassed = [word.strip().lstrip(".") for word in (env.get("no_proxy") or env.get("NO_PROXY") or "").split(",")]
    plain = host.partition(":")[0]
    if not any(word in ("*", plain) or plain.endswith(f".{word}") for word in bypassed if word):
        for scheme in ("http", "https"):
            proxy = env.get(f"{scheme}_proxy") or env.get(f"{scheme.upper()}_PROXY")
            proxy = proxy or env.get("all_proxy") or env.get("ALL_PROXY")
            if proxy:
                proxies[scheme] = proxy
    return urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=context), _NoRedirect
    )
