"""Whom a new session acts for: a client that it is made with the credentials of, or whoever asks (contract 6.1)."""

from __future__ import annotations

import math

from kvern.service.authority import Assertion
from kvern.service.clients import Clients, Credentials
from kvern.service.clock import Clock
from kvern.service.groups import Groups
from kvern.service.identity import BUILTIN, Principal
from kvern.service.live_sessions import ONESHOT, LiveSessions
from kvern.service.oidc_sessions import OidcSessions, Proof
from kvern.store import Store
from kvern.store.sessions import SessionRecord, claims_text
from kvern.wire.errors import BusyError, InvalidError, UnauthenticatedError

SESSION_MS = 3_600_000
"""How long a session that is not refreshed can act."""

_NOT_GOOD = "The session cannot be created: the client id or the client secret is not good"


class NewSessions:
    """Makes the rows of sessions that are asked for; they are kept nowhere yet.

    Args:
        foreign: gets tokens for the subjects of foreign issuers, and holds them.
        live: knows the session inside of which one is made.
    """

    def __init__(
        self, store: Store, clock: Clock, clients: Clients, groups: Groups, foreign: OidcSessions, live: LiveSessions
    ) -> None:
        self._store = store
        self._clock = clock
        self._clients = clients
        self._groups = groups
        self._foreign = foreign
        self._live = live

    async def of_client(self, who: Principal, given: Credentials) -> tuple[SessionRecord, Proof | None]:
        """A session as a client, and with what its issuer can be asked again, when that is not Kvern.

        Raises:
            InvalidError: the credentials are not good, or the client has no access to the project.
            BusyError: too many were not good.
        """
        issuer = self._foreign.issuer_for(who)
        proof = None
        if issuer is None or self._clients.get(given.client_id) is not None:
            asker = f"{who.issuer} {who.subject}"
            if wait := self._clients.guesses.wait(given.client_id, asker):
                raise BusyError(f"Too many wrong client secrets: the next one is looked at in {math.ceil(wait)} s")
            try:
                client = self._clients.authenticate(given)
            except UnauthenticatedError as error:
                self._clients.guesses.wrong(given.client_id, asker)
                raise InvalidError(_NOT_GOOD) from error
            self._clients.guesses.right(given.client_id, asker)
            if client.project != who.project:
                raise InvalidError(_NOT_GOOD)
            assertion = Assertion(BUILTIN, client.client_id, 0)
        else:
            granted = await self._foreign.try_client(who.project, issuer, given)
            assertion = granted.assertion
            proof = Proof(client_id=given.client_id, client_secret=given.client_secret)
        grant = self._groups.grant(who.project, assertion.issuer, assertion.subject, assertion.claims)
        if grant is None:
            raise InvalidError(f"The session cannot be created: {given.client_id} has no access to {who.project}")
        record = self._new(who.project, "CLIENT_CREDENTIALS", assertion.subject, grant.capabilities)
        record.issuer, record.claims = assertion.issuer, claims_text(assertion.claims)
        record.client_id = given.client_id
        if assertion.token is not None:
            self._foreign.hold(record.id, assertion.token, assertion.expires)
        return record, proof

    async def of_caller(self, who: Principal, *, oneshot: bool) -> tuple[SessionRecord, Proof | None]:
        """A session as its caller, and with what the issuer of the caller's token can be asked again.

        Raises:
            InvalidError: the token cannot be exchanged, or a session that was made inside a function asks for one more.
        """
        record = self.as_caller(who, oneshot=oneshot)
        if record.type == ONESHOT or who.session_id is not None:
            return record, None
        try:
            granted = await self._foreign.try_exchange(who)
            if granted is None:
                return record, None
            if granted.assertion.subject != who.subject:
                raise InvalidError(
                    "The session cannot be created: the issuer exchanged the token for another subject's"
                )
        except BaseException:
            self._foreign.drop(record.id)
            raise
        self._foreign.hold(record.id, granted.access_token, granted.assertion.expires)
        return record, None if granted.refresh_token is None else Proof(refresh_token=granted.refresh_token)

    def as_caller(self, who: Principal, *, oneshot: bool) -> SessionRecord:
        """A session as its caller, asking nobody: one that is made from a one-shot session lives no longer than that.

        Raises:
            InvalidError: the caller is a session that was itself made inside a function.
        """
        parent = None
        if who.session_id is not None:
            parent = self._live.get(who.session_id)
            if parent is None or parent.parent_id is not None:
                raise InvalidError(
                    "The session cannot be created: the one that asks was itself made inside a function, "
                    "and that goes one level deep only"
                )
            oneshot = oneshot or parent.type == ONESHOT
        kind = ONESHOT if oneshot else "TOKEN_EXCHANGE"
        record = self._new(who.project, kind, who.subject, who.capabilities)
        record.issuer, record.claims = who.issuer, claims_text(who.claims)
        if parent is not None:
            record.parent_id = parent.id
            if parent.type == ONESHOT:
                record.expiration_time = min(record.expiration_time, parent.expiration_time)
        elif who.token is not None:
            self._foreign.hold(record.id, who.token, who.expires)
            if oneshot:
                record.expiration_time = min(record.expiration_time, who.expires)
        return record

    def _new(self, project: str, kind: str, subject: str, capabilities: str) -> SessionRecord:
        now = self._clock.now()
        return SessionRecord(
            id=self._store.next_id(),
            project=project,
            type=kind,
            status="READY",
            subject=subject,
            capabilities=capabilities,
            creation_time=now,
            expiration_time=now + SESSION_MS,
        )
