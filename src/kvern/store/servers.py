"""The services that share a database: who lives, who leads, and whose calls and deployments have lost their server.

A server lives as long as its row is there. Every transaction of it locks the row against deletion and fails when it is
gone (`hold`); whoever deletes it waits for such transactions. So nothing of a server is written after it was taken for
dead, and all that it wrote before is seen by who takes over.

Times are the database's own, in ms since the epoch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.elements import ColumnElement

from kvern.store import FencedError
from kvern.store.tables import NOT_COMPLETED, calls, functions, leases, sequences, servers

_IDLE_MOST = 3000
"""Milliseconds for which a transaction may rest: a server that is frozen within one must not hold up the others."""

_IDLE_PART = 2 / 3
"""The most of a lease for that: when a server freezes, as much of its lease is left, as there are three heartbeats."""

_LOCK_MOST = 1000

_BLOBS = "mark of the blobs"

_RUNNING = and_(calls.c.status == "Running", NOT_COMPLETED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRecord:
    """A row of `servers`."""

    id: str
    address: str
    version: str
    started_time: int
    lease_until: int


def now(connection: Connection) -> int:
    """The database's clock."""
    if connection.dialect.name != "postgresql":
        return time.time_ns() // 1_000_000  # it is in this process
    return int(connection.execute(select(func.extract("epoch", func.clock_timestamp()) * 1000)).scalar_one())


def join(connection: Connection, server: str, address: str, version: str, lease: int) -> None:
    """Begin to live, for `lease` ms at first."""
    moment = now(connection)
    row = ServerRecord(id=server, address=address, version=version, started_time=moment, lease_until=moment + lease)
    connection.execute(
        insert(servers).values(
            id=row.id,
            address=row.address,
            version=row.version,
            started_time=row.started_time,
            lease_until=row.lease_until,
        )
    )


def renew(connection: Connection, server: str, address: str, lease: int) -> bool:
    """Live for `lease` ms from now. False when the server was taken for dead."""
    _be_short(connection, lease)
    until = now(connection) + lease
    renewed = connection.execute(
        update(servers).where(servers.c.id == server).values(lease_until=until, address=address)
    )
    connection.execute(update(leases).where(leases.c.server == server).values(lease_until=until))
    return renewed.rowcount == 1


def hold(connection: Connection, server: str, lease: int) -> None:
    """What every transaction of a server begins with; it also says for the feed of changes who makes them.

    Args:
        lease: for how many ms the server lives at a time.

    Raises:
        FencedError: the server was taken for dead.
    """
    statement = select(servers.c.id).where(servers.c.id == server)
    if connection.dialect.name == "postgresql":
        statement = statement.add_columns(
            func.set_config("kvern.server", server, True),
            func.set_config("idle_in_transaction_session_timeout", _idle_most(lease), True),
        ).with_for_update(read=True, key_share=True)
    if connection.execute(statement).first() is None:
        raise FencedError(f"this server, {server}, was taken for dead by others and may not write any more")


def leave(connection: Connection, server: str, lease: int) -> None:
    """End to live, in order: what is left of the server is for others to take."""
    give_up_leases(connection, server)
    bury_one(connection, server, lease)


def give_up_leases(connection: Connection, server: str) -> None:
    """Whoever wants them may take them; when they were held last is kept."""
    connection.execute(update(leases).where(leases.c.server == server).values(server=""))


def bury_one(connection: Connection, server: str, lease: int) -> None:
    """Take one for dead that is known to be, before its lease of so many ms runs out."""
    _be_short(connection, lease)
    connection.execute(delete(servers).where(servers.c.id == server))


def _be_short(connection: Connection, lease: int) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(
            select(
                func.set_config("lock_timeout", str(_LOCK_MOST), True),
                func.set_config("idle_in_transaction_session_timeout", _idle_most(lease), True),
            )
        )


def _idle_most(lease: int) -> str:
    return str(int(min(_IDLE_MOST, lease * _IDLE_PART)))


def bury(connection: Connection, lease: int) -> list[str]:
    """Take for dead those whose leases ran out; who they were. `lease`: that of the server that does so, in ms."""
    _be_short(connection, lease)
    gone = connection.execute(delete(servers).where(servers.c.lease_until < now(connection)).returning(servers.c.id))
    return [row[0] for row in gone]


def take_lease(connection: Connection, name: str, server: str, lease: int) -> int | None:
    """Take what only one may do, or keep it.

    Returns:
        None while another server that lives has it; else the ms for which it is not known that anybody did it.
    """
    moment = now(connection)
    row = {"server": server, "lease_until": moment + lease}
    held = connection.execute(select(leases.c.server, leases.c.lease_until).where(leases.c.name == name)).first()
    if held is None:
        try:
            with connection.begin_nested():
                connection.execute(insert(leases).values(name=name, **row))
        except IntegrityError:
            return None
        return 0
    free = or_(leases.c.server == server, leases.c.server.not_in(select(servers.c.id)))
    if not connection.execute(update(leases).where(leases.c.name == name, free).values(row)).rowcount:
        return None
    return 0 if held.server == server else max(0, moment - held.lease_until + lease)


def everything(connection: Connection) -> list[ServerRecord]:
    """All that live, oldest first."""
    rows = connection.execute(select(servers).order_by(servers.c.started_time, servers.c.id)).mappings()
    return [ServerRecord(**row) for row in rows]


def holder(connection: Connection, name: str) -> str | None:
    """The server that has a lease."""
    return connection.execute(select(leases.c.server).where(leases.c.name == name)).scalar()


def blobs_mark(connection: Connection) -> int | None:
    """By what the servers know the place of their blobs again; None before the first of them."""
    return connection.execute(select(sequences.c.next).where(sequences.c.name == _BLOBS)).scalar()


def keep_blobs_mark(connection: Connection, mark: int) -> int:
    """The mark that is there, or else `mark`, which is kept."""
    try:
        with connection.begin_nested():
            connection.execute(insert(sequences).values(name=_BLOBS, next=mark))
    except IntegrityError:
        return connection.execute(select(sequences.c.next).where(sequences.c.name == _BLOBS)).scalar_one()
    return mark


def _lost(column: ColumnElement[str]) -> ColumnElement[bool]:
    return or_(column.is_(None), column.not_in(select(servers.c.id)))


def claim_calls(connection: Connection, server: str, most: int) -> dict[int, str | None]:
    """Make calls that have not ended and whose server is no more this server's, oldest first; whose each was."""
    lost = (
        select(calls.c.id, calls.c.server)
        .where(_RUNNING, _lost(calls.c.server))
        .order_by(calls.c.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    found = {row.id: row.server for row in connection.execute(lost)}
    if found:
        connection.execute(update(calls).where(calls.c.id.in_(list(found))).values(server=server))
    return found


def claim_functions(connection: Connection, server: str) -> list[int]:
    """Make functions that are being deployed by a server that is no more this server's."""
    lost = (
        select(functions.c.id)
        .where(functions.c.status.in_(("Queued", "Deploying")), _lost(functions.c.server))
        .with_for_update(skip_locked=True)
    )
    found = [row.id for row in connection.execute(lost)]
    if found:
        connection.execute(update(functions).where(functions.c.id.in_(found)).values(server=server))
    return found


def running_elsewhere(connection: Connection, server: str) -> dict[tuple[str, int], int]:
    """How many calls other servers run or hold, by project and function."""
    counted = (
        select(calls.c.project, calls.c.function_id, func.count())
        .where(_RUNNING, calls.c.server != server)
        .group_by(calls.c.project, calls.c.function_id)
    )
    return {(row[0], row[1]): row[2] for row in connection.execute(counted)}
