"""The ledger of a schedule: how each of its due times ended."""

from __future__ import annotations

from typing import cast, get_args

from kvern.service.cursors import read_cursor, write_cursor
from kvern.service.schedules import Schedules
from kvern.store import Store, ticks
from kvern.store.ticks import TickRecord
from kvern.wire import schedules as wire
from kvern.wire.base import page_size
from kvern.wire.errors import InvalidError

LIST_MOST = 1000
OUTCOMES: tuple[str, ...] = get_args(wire.Outcome)


class Ledger:
    """Reads what firing wrote."""

    def __init__(self, store: Store, schedules: Schedules) -> None:
        self._store = store
        self._schedules = schedules

    async def page(
        self, project: str, schedule_id: int, outcome: str | None, limit: int, cursor: str | None
    ) -> tuple[list[wire.Tick], str | None]:
        """Newest first; the cursor to go on from when there are more.

        Args:
            outcome: only these, joined by commas; all when None.

        Raises:
            NotFoundError: there is no such schedule.
            InvalidError: the cursor was not made here, or there is no such outcome.
        """
        self._schedules.get(project, schedule_id)
        limit = page_size(limit, LIST_MOST)
        wanted = None if outcome is None else outcome.split(",")
        for one in wanted or ():
            if one not in OUTCOMES:
                known = ", ".join(f"`{each}`" for each in OUTCOMES)
                raise InvalidError(f"Expected {known}, or several joined by commas, as `outcome`, given {one[:40]!r}")
        before = None if cursor is None else read_cursor(cursor, 1)[0]
        rows = await self._store.look_up(lambda c: ticks.page(c, schedule_id, wanted, limit + 1, before))
        more = write_cursor(rows[limit - 1].due_time) if len(rows) > limit else None
        return [_shown(row) for row in rows[:limit]], more


def _shown(record: TickRecord) -> wire.Tick:
    return wire.Tick(
        schedule_id=record.schedule_id,
        due_time=record.due_time,
        outcome=cast(wire.Outcome, record.outcome),
        reason=record.reason,
        fired_time=record.fired_time,
        call_id=record.call_id,
    )
