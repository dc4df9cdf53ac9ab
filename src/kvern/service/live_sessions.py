"""The sessions that can act or wait for their nonce, in memory: what is decided about them is decided from here."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping

from kvern.service.clock import Clock
from kvern.store.sessions import SessionRecord
from kvern.wire.errors import InvalidError

NONCE_MS = 60_000
"""How long a nonce can be bound (contract 6.2)."""

ONESHOT = "ONESHOT_TOKEN_EXCHANGE"


def nonce_hash(nonce: str) -> str:
    """What is kept of a nonce."""
    return hashlib.sha256(nonce.encode()).hexdigest()


def is_unbound(record: SessionRecord, now: int) -> bool:
    """Whether nobody bound its nonce in time. `now` in ms since the epoch."""
    return record.status == "READY" and now - record.creation_time > NONCE_MS


def is_over(record: SessionRecord, now: int) -> bool:
    """Whether it is a one-shot session that is too old. `now` in ms since the epoch."""
    return record.type == ONESHOT and record.expiration_time <= now


class LiveSessions:
    """Holds sessions by id, and those that wait by their nonce."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: dict[int, SessionRecord] = {}
        self._by_nonce: dict[str, SessionRecord] = {}
        self._made_in: dict[int, set[int]] = {}
        """By call, the sessions that its function made and that nobody has bound."""

    def __iter__(self) -> Iterator[SessionRecord]:
        return iter(list(self._records.values()))

    def __contains__(self, session_id: int) -> bool:
        return session_id in self._records

    def ids(self) -> set[int]:
        return set(self._records)

    def get(self, session_id: int) -> SessionRecord | None:
        """A session, whether or not it can act yet."""
        return self._records.get(session_id)

    def hold(self, record: SessionRecord) -> None:
        """Take a session in, in place of what is held of it."""
        self.drop(record.id)
        self._records[record.id] = record
        if record.status == "READY" and record.nonce_hash is not None:
            self._by_nonce[record.nonce_hash] = record

    def drop(self, session_id: int) -> SessionRecord | None:
        """Let a session go, and its nonce; what was held of it."""
        record = self._records.pop(session_id, None)
        if record is not None and record.nonce_hash is not None:
            self._by_nonce.pop(record.nonce_hash, None)
        return record

    def note_maker(self, record: SessionRecord, call_id: int) -> None:
        """A session that waits for its nonce was made inside a call."""
        self._made_in.setdefault(call_id, set()).add(record.id)

    def unbound_of(self, call_id: int) -> list[int]:
        """The sessions that were made inside a call and that nobody has bound; they are asked for once."""
        if call_id not in self._made_in:
            return []
        ids = self._made_in.pop(call_id)
        return [one for one in ids if one in self._records and self._records[one].status == "READY"]

    def awaits(self, nonce: str) -> bool:
        """Whether the session of a nonce is held here."""
        return nonce_hash(nonce) in self._by_nonce

    def bind(self, project: str, nonce: str) -> SessionRecord:
        """Take a nonce, once; its session can act from now on.

        Raises:
            InvalidError: the nonce is unknown, used, or older than a minute.
        """
        record = self._by_nonce.get(nonce_hash(nonce))
        if record is None or record.project != project or record.status != "READY":
            raise InvalidError("Failed to bind session: the nonce is unknown or was used before; create a new session")
        del self._by_nonce[nonce_hash(nonce)]
        if is_unbound(record, self._clock.now()):
            raise InvalidError("Failed to bind session: the nonce is older than one minute; create a new session")
        record.status, record.nonce_hash = "ACTIVE", None
        return record

    def acting(self, session_id: int) -> SessionRecord | None:
        """A session that can act now, or None: it ended, was revoked, or was one-shot and is too old."""
        record = self._records.get(session_id)
        if record is None or record.status != "ACTIVE" or is_over(record, self._clock.now()):
            return None
        return record

    def drop_stale(self) -> list[int]:
        """Let go those whose nonce nobody bound in time, and one-shot ones that are too old; the ids of these."""
        now = self._clock.now()
        stale = [record.id for record in self if is_unbound(record, now) or is_over(record, now)]
        for session_id in stale:
            self.drop(session_id)
        return stale

    def count(self) -> Mapping[str, int]:
        """How many there are, by project."""
        return Counter(record.project for record in self._records.values())
