"""One request as a route's handler sees it: checked, decoded, and known who asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, TypeVar

from starlette.requests import Request

from kvern.service.identity import Identity, Principal
from kvern.wire.errors import InvalidError, NotFoundError
from kvern.wire.old_sdks import is_strict

T = TypeVar("T")

WAIT_MOST = 60.0
"""Longest wait in seconds that `Prefer: wait=N` gets: what HTTP clients commonly bear."""

_GREATEST_ID = 2**53 - 1
_PROMISE = "_promise"
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,9})\"?", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9._\-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


@lru_cache(256)
def _waited(preferences: str) -> float | None:
    """The wait that a header states; clients state the same again and again."""
    found = _WAIT.search(preferences)
    return min(float(found[1]), WAIT_MOST) if found else None


@dataclass(slots=True)
class Ask(Generic[T]):
    """A request that passed the guard.

    Args:
        request: the bare request, for headers and streams.
        principal: who asks, in the project of the path; None on routes without a project, and on open ones.
        body: the decoded body, of the type that the route's table names.
        public_url: the setting of that name.
        identity: who asks, in all projects; None only on routes that are open.
    """

    request: Request
    principal: Principal | None
    body: T
    public_url: str | None = None
    identity: Identity | None = None

    @property
    def everywhere(self) -> Identity:
        """Who asks, in all projects."""
        if self.identity is None:
            raise AssertionError("a route without capability has no identity")
        return self.identity

    @property
    def who(self) -> Principal:
        if self.principal is None:
            raise AssertionError("a route without capability or project has no principal")
        return self.principal

    @property
    def project(self) -> str:
        return self.who.project

    def number(self, name: str) -> int:
        """An id in the path; the route matched digits only. Raises `NotFoundError` for what can be no id."""
        number = int(self.request.path_params[name])
        if not 1 <= number <= _GREATEST_ID:
            raise NotFoundError(f"There is nothing with the id {number}")
        return number

    def text(self, name: str) -> str:
        return str(self.request.path_params[name])

    def limit(self, default: int) -> int:
        """`limit` of the query. Raises `InvalidError` unless it is a whole number from 1."""
        return self.whole("limit", default, 1)

    def whole(self, name: str, default: int, least: int) -> int:
        """A whole number of the query. Raises `InvalidError`."""
        given = self.request.query_params.get(name)
        if given is None:
            return default
        if not given.isascii() or not given.isdigit() or len(given) > 15 or int(given) < least:
            raise InvalidError(f"Expected a whole number of at least {least} as `{name}`, given {given[:40]!r}")
        return int(given)

    def flag(self, name: str) -> bool:
        """`true` or `false` of the query, false when absent. Raises `InvalidError`."""
        given = self.request.query_params.get(name, "false")
        if given.lower() not in ("true", "false"):
            raise InvalidError(f"Expected `true` or `false` as `{name}`, given {given[:40]!r}")
        return given.lower() == "true"

    def wait(self) -> float:
        """Seconds of `Prefer: wait=N` (RFC 7240), at most `WAIT_MOST`; 0 when the client states none."""
        for value in self.request.headers.getlist("prefer"):
            seconds = _waited(value)
            if seconds is not None:
                return seconds
        return 0.0

    def prefers(self, preference: str) -> bool:
        """Whether the client states a preference without a value (RFC 7240), such as `respond-async`."""
        stated = ",".join(self.request.headers.getlist("prefer")).replace(";", ",").split(",")
        return preference in (one.strip().lower() for one in stated)

    @property
    def is_strict(self) -> bool:
        """Whether the client is an SDK that cannot read what it does not know."""
        return is_strict(self.request.headers.get("x-cdp-sdk", ""))

    def base_url(self) -> str:
        """What links begin with: the setting, else the address that the client itself used."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        host = self.request.headers.get("host", "")
        if not _HOST.fullmatch(host):
            raise InvalidError(f"Expected a host name and port in the Host header, given {host[:80]!r}")
        return f"{self.request.url.scheme}://{host}"


@dataclass(frozen=True, slots=True)
class Promise:
    """What a route answers when all is well; the description of the API is made from it.

    Args:
        answer: the type of the JSON; None where it is not JSON.
        status: of a good answer.
        query: names of query parameters and headers that are read, see `server/openapi.py`.
        media: the media type where it is not JSON.
        refusal: the type of a refusal where it is not the contract's envelope.
        also: another status with which the same type is answered.
    """

    answer: Any = None
    status: int = 200
    query: tuple[str, ...] = ()
    media: str = "application/json"
    refusal: Any = None
    also: int | None = None


_Handler = TypeVar("_Handler", bound=Callable[..., Any])


def answers(
    answer: Any,
    status: int = 200,
    *query: str,
    media: str = "application/json",
    refusal: Any = None,
    also: int | None = None,
) -> Callable[[_Handler], _Handler]:
    """Say what a handler answers; see `Promise`."""

    def note(handler: _Handler) -> _Handler:
        setattr(handler, _PROMISE, Promise(answer, status, query, media, refusal, also))
        return handler

    return note


def promise_of(handler: Callable[..., Any]) -> Promise:
    """What `answers` noted on a handler."""
    return getattr(handler, _PROMISE, Promise())


@dataclass(slots=True)
class Answer:
    """What a handler answers: `body` is encoded as JSON, unless it is JSON bytes already."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
