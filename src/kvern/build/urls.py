"""URLs with credentials in them: taken apart, and kept out of whatever is shown or stored."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit, urlunsplit

_MASK = "****"
_SHORTEST = 4
_TOKEN_SHORTEST = 8
_LONGEST = 2000
_HOST = re.compile(r"[\w.-]+|[0-9A-Fa-f:.]+", re.A)
_UNFIT = re.compile(r"[\s\x00-\x20\x7f-\xa0\\\"<>`^{|}]")
"""What no URL has: separators of lists of URLs, and characters that programs read in different ways."""

_BLANK = re.compile(r"[\s\x00-\x20\x7f-\xa0]")
_URL = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]{0,30})://([^\s]+)")
_BEHIND = re.compile(r"[)\]}>`'\",.;:]{0,10}$")
_PART = re.compile(r"[/\\?#]")
_PLAIN = frozenset(("", "simple", "+simple", "pypi", "packages", "web", "root", "whl", "cpu", "links", "files"))
"""Parts of an index's path that are no secret."""

_TRUSTED = re.compile(r"(?=[A-Za-z0-9\[])(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Login:
    """A host's credentials, decoded.

    Args:
        host: the name alone, without a port.
        user: may be empty.
        password: may be empty.
    """

    host: str
    user: str
    password: str

    @property
    def netrc(self) -> str:
        """A line of a netrc file.

        Raises:
            ValueError: a word of it would be read as several, or as something else.
        """
        words = [("machine", self.host), ("login", self.user), ("password", self.password)]
        for what, word in words:
            if _BLANK.search(word) or word.startswith(('"', "#")):
                raise ValueError(f"the {what} has a blank, a line break or a control character, or begins with a quote")
        return " ".join(f"{what} {word}" for what, word in words if word) + "\n"


def without_login(url: str) -> tuple[str, Login | None]:
    """`url` without its credentials, and the credentials when it has any."""
    parts = urlsplit(url)
    userinfo, at, place = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = userinfo.partition(":")
    bare = urlunsplit(parts._replace(netloc=place))
    return bare, Login(parts.hostname or "", unquote(user), unquote(password))


def one_url(url: str, schemes: Collection[str] = ("http", "https")) -> str:
    """`url`, if every program reads it as one URL of one host.

    Args:
        url: as given; may hold credentials.
        schemes: those that are allowed.

    Raises:
        ValueError: it is something else: the message says what, and repeats nothing of it.
    """
    if len(url) > _LONGEST:
        raise ValueError(f"it has {len(url)} characters; at most {_LONGEST} are allowed")
    if _UNFIT.search(url):
        raise ValueError("it has a blank, a backslash or another character that a URL has only as %XX")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("its host or port cannot be read; write '/', '@', ':' in a login as %2F, %40, %3A") from None
    if parts.scheme not in schemes or not parts.hostname or not _HOST.fullmatch(parts.hostname) or port == 0:
        raise ValueError("it lacks a kind that is allowed, or a host")
    if parts.hostname.startswith("-"):
        raise ValueError("its host begins with a hyphen")
    if _BLANK.search(unquote(parts.netloc)):
        raise ValueError("its user name or password has a blank, a line break or a control character")
    return url


def one_host(text: str) -> str:
    """`text`, if it is the name or address of one host, with or without a port.

    Raises:
        ValueError: it is something else.
    """
    if not _TRUSTED.fullmatch(text):
        raise ValueError("expected one host, such as pypi.example or pypi.example:8443")
    return text


class Scrubber:
    """Takes credentials out of text before anyone sees it.

    A URL with a login, whether its authority is fit or not, is shown as `scheme://host/…`: what is before the last `@`
    goes. So are all URLs of a host for which one of `urls` has anything that could be secret, in its path too. Of
    others the query goes. Passwords, and user names without a password (tokens), also go where they stand alone: as
    given, decoded, or as the base64 of basic auth.

    Args:
        urls: URLs that may have credentials in them.
        words: further secret words.
    """

    def __init__(self, urls: Iterable[str] = (), words: Iterable[str] = ()) -> None:
        secrets = set(words)
        self._hosts: set[str] = set()
        self._cut: set[str] = set()
        """Of logins with a slash in them: what stands in the place of a host."""

        for url in urls:
            rest = url.partition("://")[2]
            info, at, place = rest.rpartition("@")
            if at:
                secrets |= _of_login(info)
            path = _PART.split(place)
            if at or not _PLAIN.issuperset(path[1:]):
                self._hosts |= {path[0].lower(), _host(rest)}
            if _host(rest) != path[0].lower():
                self._cut.add(_host(rest))
            secrets |= set(_tokens(place))
        # A word of one or two letters is no secret, but would make the text unreadable.
        self._secrets = sorted((word for word in secrets if len(word) >= _SHORTEST), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return _URL.sub(self._masked, text)

    def _masked(self, found: re.Match[str]) -> str:
        scheme, rest = found[1], found[2]
        behind = _BEHIND.search(rest)
        end = behind[0] if behind else ""
        rest = rest.removesuffix(end) if end else rest
        if scheme.lower() == "file":
            return found[0]
        authority = _PART.split(rest, maxsplit=1)[0]
        host, _, port = authority.rpartition(":")
        is_broken = "@" in rest and bool(host) and not port.isdigit() and not port.endswith("]")
        if is_broken or _host(rest) in self._cut:
            return f"{scheme}://{_PART.split(rest.rpartition('@')[2], maxsplit=1)[0]}/…{end}"
        if "@" in authority or _host(rest) in self._hosts:
            return f"{scheme}://{authority.rpartition('@')[2]}/…{end}"
        bare, query, _ = rest.partition("?")
        return f"{scheme}://{bare}?…{end}" if query else found[0]


def _host(rest: str) -> str:
    """The host, with its port, of what follows `://`, as one reads it who ends the authority at the first slash."""
    return _PART.split(rest, maxsplit=1)[0].rpartition("@")[2].lower()


def _of_login(info: str) -> set[str]:
    """The secret words of what stands before the `@`."""
    user, _, password = info.partition(":")
    secret = password or user
    plain = f"{unquote(user)}:{unquote(password)}"
    found = {secret, unquote(secret), quote(unquote(secret), safe=""), secret.replace("\\", "/"), plain}
    return found | {base64.b64encode(plain.encode(errors="replace")).decode()}


def _tokens(place: str) -> Iterator[str]:
    """What may be a token in path or query of a URL."""
    _, *parts = re.split(r"[/\\?#&]", place)
    for part in parts:
        name, equals, value = part.partition("=")
        word = value if equals else name
        if len(word) >= _TOKEN_SHORTEST and (equals or re.search(r"[0-9]", word)):
            yield word
            yield unquote(word)
