"""The keys of a foreign issuer: found, kept, rotated, and still there when it is down.

what happens                            | what is done
----------------------------------------|------------------------------------------------------------------
a token names a key that is known       | it is used; an old set is fetched anew beside, nobody waits
a token names a key that is not known   | the set is fetched, at most once in `RETRY_MS`; then the token is bad
a signature is not the known key's      | the same: an issuer may change a key that has no id, or keep its id
the issuer does not answer, or garbage  | the last set is used for `STALE_MS`; what was fetched is thrown away
there is no set, or it is too old       | nobody can tell whether a token is good: 503, nothing happened
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric import rsa

from kvern.service.clock import Clock
from kvern.service.oidc_http import UnreachableIssuerError
from kvern.wire.errors import UnauthenticatedError, UnavailableError

FRESH_MS = 15 * 60_000
"""Age after which a set is fetched anew."""

STALE_MS = 24 * 3_600_000
"""Age up to which a set is used while the issuer does not answer: a key that it took back may be used as long."""

RETRY_MS = 15_000
"""Shortest time between two fetches, however many tokens name keys that nobody knows."""

_KEYS_MOST = 100
_KID_MOST = 256
_RSA_LEAST = 2048
_RSA = (("RSA", None),)
_KINDS: dict[str, tuple[tuple[str, str | None], ...]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), _RSA),
    "ES256": (("EC", "P-256"),),
    "ES384": (("EC", "P-384"),),
    "ES512": (("EC", "P-521"),),
    "EdDSA": (("OKP", "Ed25519"), ("OKP", "Ed448")),
}
"""Type and curve of the keys that an algorithm may use (RFC 7518 3.1, RFC 8037)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, and the algorithms for which it may be used."""

    kid: object
    algorithms: frozenset[str]
    public: Any


class Keys:
    """The keys with which one issuer signs.

    Args:
        issuer: its name, for messages.
        fetch: gets its key set (RFC 7517); raises `UnreachableIssuerError`.
    """

    def __init__(self, issuer: str, clock: Clock, fetch: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._issuer = issuer
        self._clock = clock
        self._fetch = fetch
        self._keys: list[Key] = []
        self._fetched: int | None = None
        self._tried: int | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: object, algorithm: str) -> Key:
        """The key that a token's header names, for an algorithm that the caller allows.

        Raises:
            UnauthenticatedError: there is no such key.
            UnavailableError: the keys are not known now.
        """
        if kid is not None and (not isinstance(kid, str) or len(kid) > _KID_MOST):
            raise UnauthenticatedError(f"Expected a key id of at most {_KID_MOST} characters in the token")
        age = self._age()
        if age is None or age > STALE_MS:
            await self._refresh()
        elif age > FRESH_MS:
            self._begin()
        found = self._pick(kid, algorithm)
        if found is None and self._age() is not None:
            await self._refresh()
            found = self._pick(kid, algorithm)
        age = self._age()
        if age is None or age > STALE_MS:
            raise UnavailableError(f"The keys of {self._issuer} cannot be had now, so its tokens cannot be checked")
        if found is None:
            raise UnauthenticatedError("The token is not good: it is signed with a key that its issuer does not have")
        return found

    async def other(self, kid: object, algorithm: str, key: Key) -> Key | None:
        """The key that took the place of one that does not fit a signature; None when it is still the same."""
        await self._refresh()
        found = self._pick(kid if isinstance(kid, str) else None, algorithm)
        return None if found is None or found.public == key.public else found

    def _age(self) -> int | None:
        return None if self._fetched is None else self._clock.now() - self._fetched

    def _pick(self, kid: str | None, algorithm: str) -> Key | None:
        fitting = [key for key in self._keys if algorithm in key.algorithms]
        if kid is None:  # allowed only where it leaves no choice
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.kid == kid), None)

    def _begin(self) -> asyncio.Task[None] | None:
        """Fetch in the background, unless that was tried just now; the task, when one runs."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        now = self._clock.now()
        if self._tried is not None and 0 <= now - self._tried < RETRY_MS:
            return None
        self._tried = now
        self._fetching = asyncio.create_task(self._load(), name=f"keys of {self._issuer}")
        return self._fetching

    async def _refresh(self) -> None:
        task = self._begin()
        if task is not None:
            await asyncio.shield(task)

    async def _load(self) -> None:
        try:
            keys = _usable(await self._fetch())
        except UnreachableIssuerError as error:
            _log.warning("the keys of %s: %s", self._issuer, error)
            return
        except Exception:
            _log.exception("the keys of %s", self._issuer)
            return
        if not keys:
            _log.warning("the keys of %s: no usable key among them; the last ones stay", self._issuer)
            return
        self._keys, self._fetched = keys, self._clock.now()


def _usable(found: dict[str, Any]) -> list[Key]:
    """Public signature keys of good strength; what else an issuer publishes is passed over."""
    listed: object = found.get("keys")
    if not isinstance(listed, list):
        return []
    given = cast("list[object]", listed)[:_KEYS_MOST]
    keys = (_key(cast("dict[str, Any]", one)) for one in given if isinstance(one, dict))
    return [key for key in keys if key is not None]


def _key(words: dict[str, Any]) -> Key | None:
    import jwt  # see `kvern.service.issuer`

    operations: object = words.get("key_ops", ["verify"])
    if words.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    algorithms = [name for name, kinds in _KINDS.items() if (words.get("kty"), words.get("crv")) in kinds]
    if "alg" in words:
        algorithms = [name for name in algorithms if name == words["alg"]]
    if not algorithms:
        return None
    try:
        public = jwt.PyJWK({name: value for name, value in words.items() if name != "d"}, algorithms[0]).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < _RSA_LEAST:
        return None
    return Key(words.get("kid"), frozenset(algorithms), public)
