"""URLs with credentials in them: taken apart, and kept out of whatever is shown or stored."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

_MASK = "****"
_SHORTEST = 4
_USERINFO = re.compile(r"(?<=://)[^\s/@]+(?=@)")


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


def without_login(url: str) -> tuple[str, Login | None]:
    """`url` without its credentials, and the credentials when it has any."""
    parts = urlsplit(url)
    userinfo, at, place = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = userinfo.partition(":")
    bare = urlunsplit(parts._replace(netloc=place))
    return bare, Login(parts.hostname or "", unquote(user), unquote(password))


class Scrubber:
    """Takes credentials out of text before anyone sees it.

    What stands between `://` and `@` always goes. Passwords, and user names without a password (tokens), also go where
    they stand alone, as given, decoded, or as the base64 of basic auth.

    Args:
        urls: URLs that may have credentials in them.
        words: further secret words.
    """

    def __init__(self, urls: Iterable[str] = (), words: Iterable[str] = ()) -> None:
        secrets = set(words)
        for url in urls:
            userinfo, at, _ = urlsplit(url).netloc.rpartition("@")
            if not at:
                continue
            user, _, password = userinfo.partition(":")
            secret = password or user
            plain = f"{unquote(user)}:{unquote(password)}"
            secrets |= {secret, unquote(secret), plain, base64.b64encode(plain.encode()).decode()}
        # A word of one or two letters is no secret, but would make the text unreadable.
        self._secrets = sorted((word for word in secrets if len(word) >= _SHORTEST), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return _USERINFO.sub(_MASK, text)
