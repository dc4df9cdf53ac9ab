"""Who is this token? Asked for every request; answered by the issuer that the token names."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from kvern.service.clock import Clock
from kvern.service.identity import CallMark, Identity, Principal
from kvern.wire.errors import UnauthenticatedError

TOKEN_MOST = 16_384
"""Characters of the longest token that is looked at: as much as common proxies let through in a header."""

_KNOWN = 4096


@dataclass(frozen=True, slots=True)
class Assertion:
    """What an issuer says of a token, once the token was found good.

    Args:
        issuer: who says so.
        subject: who the token is about.
        expires: ms since the epoch; the token is good before that moment.
        claims: values of the claim that names the groups.
        name: what people call the subject.
        session_id: set for the token of a session.
        call: set for the token of a call: the token ends with it.
        issued: ms since the epoch, when a client got the token.
        token: the token itself, of a foreign issuer.
    """

    issuer: str
    subject: str
    expires: int
    claims: tuple[str, ...] = ()
    name: str | None = None
    session_id: int | None = None
    call: CallMark | None = None
    issued: int | None = None
    token: str | None = field(default=None, repr=False, compare=False)


class CallsAlive(Protocol):
    """Tells of calls whether the attempt that got a token still runs."""

    def is_alive(self, call: CallMark) -> bool | None:
        """Whether it does; None when that is another server's call, perhaps."""
        ...

    async def runs_elsewhere(self, call: CallMark) -> bool:
        """Whether another server's call has not ended, by what the store says."""
        ...


class Authority(Protocol):
    """An issuer that the service trusts.

    Guarantees:
        - It is asked about tokens only whose `iss` is its `issuer`, and speaks for no other.
        - `verify` returns only for a token that was signed with a key of this issuer, for this service, and that is
          neither expired nor not valid yet. It may wait for the issuer's keys, never longer than its own time limit.
        - `access` does not wait: it follows from what the service knows now, and is asked again when that changes.
        - Neither changes anything.
    """

    @property
    def issuer(self) -> str:
        """What its tokens have as `iss`."""
        ...

    async def verify(self, token: str) -> Assertion:
        """What the issuer says of the token.

        Raises:
            UnauthenticatedError: the token is not good.
            UnavailableError: the issuer's keys are not known now, so that nobody can tell.
        """
        ...

    def access(self, assertion: Assertion) -> Mapping[str, Principal]:
        """What the subject may do, by project; none where it may do nothing.

        Raises `UnauthenticatedError` when the subject is no more.
        """
        ...


@dataclass(slots=True)
class _Known:
    assertions: list[tuple[Authority, Assertion]]
    identity: Identity
    generation: int


class Authorities:
    """All issuers that the service trusts, and the tokens that were found good a while ago.

    A token goes to the authorities of the issuer that it names, and to no other. A known one is not verified again;
    it still ends when it expires, when its session does, and with what its groups allow: `changed` says that this
    may be different now.

    Args:
        session_alive: whether a session may act.
        calls: tell whether the call of a token still runs; without them all do.
    """

    def __init__(self, clock: Clock, session_alive: Callable[[int], bool], calls: CallsAlive | None = None) -> None:
        self._clock = clock
        self._session_alive = session_alive
        self._calls = calls
        self._by_issuer: dict[str, list[Authority]] = {}
        self._known: dict[str, _Known] = {}
        self._generation = 0

    def add(self, authority: Authority) -> None:
        """Trust an issuer. Several with the same `issuer` each speak for projects of their own."""
        self._by_issuer.setdefault(authority.issuer, []).append(authority)

    def changed(self) -> None:
        """Clients, groups or sessions are not what they were: what a known token may do is worked out anew."""
        self._generation += 1

    def known(self, token: str) -> Identity | None:
        """The identity of a token that was verified before and is good now; None for one that has to be verified.

        Raises:
            UnauthenticatedError: it has expired, or its session has ended.
        """
        known = self._known.get(token)
        if known is None:
            return None
        identity = known.identity
        if known.generation != self._generation:
            identity = known.identity = _identity(known.assertions)
            known.generation = self._generation
        if identity.expires <= self._clock.now():
            self._known.pop(token, None)
            raise UnauthenticatedError("The token has expired")
        if identity.session_id is not None and not self._session_alive(identity.session_id):
            self._known.pop(token, None)
            raise UnauthenticatedError("The session of this token has ended")
        if identity.call is not None and self._calls is not None:
            runs = self._calls.is_alive(identity.call)
            if runs is None:  # on another server
                return None
            if not runs:
                self._known.pop(token, None)
                raise UnauthenticatedError("The call of this token has ended, and the token with it")
        return identity

    async def verify(self, token: str) -> Identity:
        """The identity of any token.

        Raises:
            UnauthenticatedError: it is not good.
            UnavailableError: nobody can tell now.
        """
        authorities = self._by_issuer.get(_issuer(token))
        if authorities is None:
            raise UnauthenticatedError("The token is not good: its issuer is not trusted here")
        assertions: list[tuple[Authority, Assertion]] = []
        refusal: UnauthenticatedError | None = None
        for authority in authorities:
            try:
                assertions.append((authority, await authority.verify(token)))
            except UnauthenticatedError as error:
                refusal = refusal or error
        if refusal is not None and not assertions:
            raise refusal
        generation = self._generation
        self._known[token] = _Known(assertions, _identity(assertions), generation)
        while len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]
        identity = self.known(token)
        call = assertions[0][1].call
        if identity is None and call is not None and self._calls is not None and token in self._known:
            if await self._calls.runs_elsewhere(call):
                return self._known.pop(token).identity  # to be asked about again with the next request
            self._known.pop(token, None)
            raise UnauthenticatedError("The call of this token has ended, and the token with it")
        if identity is None:  # other tokens took its place meanwhile
            raise UnauthenticatedError("The token is not good now")
        return identity


def _identity(assertions: list[tuple[Authority, Assertion]]) -> Identity:
    principals: dict[str, Principal] = {}
    for authority, assertion in assertions:
        principals.update(authority.access(assertion))
    first = assertions[0][1]
    return Identity(
        subject=first.subject,
        expires=min(
            [*(assertion.expires for _, assertion in assertions), *(one.expires for one in principals.values())]
        ),
        principals=principals,
        session_id=first.session_id,
        call=first.call,
    )


class _Named(msgspec.Struct):
    iss: str


def _issuer(token: str) -> str:
    """Whom a token names as its issuer; nothing of it is believed yet."""
    if len(token) > TOKEN_MOST:
        raise UnauthenticatedError(f"Expected a token of at most {TOKEN_MOST} characters, given {len(token)}")
    parts = token.split(".")
    if len(parts) != 3:
        raise UnauthenticatedError("Expected a token of three parts (a signed JWT)")
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=_Named).iss
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise UnauthenticatedError("The token is not good: expected a JWT that names its issuer as `iss`") from error
