"""What a due time comes to. It is made ahead of the moment, at which only checks and the stamp of the time are left."""

from __future__ import annotations

from dataclasses import dataclass

from kvern.service.calls import Calls
from kvern.service.functions import LiveFunction
from kvern.service.live_calls import LiveCall
from kvern.service.outcomes import refused
from kvern.store.schedules import ScheduleRecord
from kvern.store.ticks import TickRecord

IN_TIME = 1000
"""Milliseconds after its due time until which a call was made in time."""

PAUSED = "the schedule is paused"


@dataclass(slots=True)
class Shot:
    """What a due time came to: its tick, the row of its call, and the call itself when it is to run."""

    record: ScheduleRecord
    tick: TickRecord
    row: dict[str, object] | None = None
    call: LiveCall | None = None

    def stamp(self, moment: int, cause: str | None) -> None:
        """Note when it was fired.

        Args:
            moment: ms since the epoch.
            cause: why it is late, if it is.
        """
        tick, row = self.tick, self.row
        if row is None:
            return
        tick.fired_time = row["start_time"] = moment
        if self.call is None:
            row["end_time"] = moment
            return
        self.call.record.start_time = self.call.attempt_time = moment
        late = moment - tick.due_time
        if late > IN_TIME:
            tick.outcome, tick.reason = "late", f"fired {span(late)} late: {cause or 'the service was busy'}"


@dataclass(slots=True)
class Due:
    """A schedule that is due, with the shot that was made ahead for it, if one was."""

    record: ScheduleRecord
    time: int
    shot: Shot | None = None


def ahead(calls: Calls, function: LiveFunction, record: ScheduleRecord, due: int) -> Shot:
    """A shot that makes its call, unless something stands against it when it is due; nothing is counted or kept.

    Raises:
        StoreFault: the store gives no id.
    """
    call = calls.due(function, record, due)
    tick = TickRecord(schedule_id=record.id, due_time=due, outcome="ran", call_id=call.record.id)
    return Shot(record, tick, call.accept_row(), call)


def take(calls: Calls, due: Due, function: LiveFunction, refusal: str | None = None) -> Shot:
    """Count a call in; one that cannot run is kept as Failed.

    Args:
        refusal: why the call cannot run, if it cannot.

    Raises:
        StoreFault: the store gives no id.
    """
    shot = due.shot
    if shot is None or shot.call is None or shot.row is None or shot.call.function is not function:
        shot = ahead(calls, function, due.record, due.time)
    call, row, tick = shot.call, shot.row, shot.tick
    assert call is not None and row is not None
    refusal = refusal or calls.refusal(function)
    if refusal is not None:
        row.update(refused(refusal, call.record.start_time))
        tick.outcome, tick.reason, shot.call = "skipped", refusal, None
    else:
        calls.admit(call)
        row["begun"], row["server"] = call.begun, call.server
    return shot


def skipped(record: ScheduleRecord, due: int, reason: str) -> Shot:
    """A due time that makes no call."""
    return Shot(record, TickRecord(schedule_id=record.id, due_time=due, outcome="skipped", reason=reason))


def standing_against(record: ScheduleRecord, function: LiveFunction) -> str | None:
    """Why a due time makes no call, if it makes none."""
    if record.paused_time is not None:
        return PAUSED
    if function.record.status != "Ready":
        return f"the function is {function.record.status}"
    return None


def span(milliseconds: int) -> str:
    """A time span in the unit that suits it."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if milliseconds >= 2 * size:
            return f"{milliseconds / size:.1f} {unit}"
    return f"{milliseconds / 1000:.1f} s"
