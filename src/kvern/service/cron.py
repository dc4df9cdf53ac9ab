"""Cron rules: what they may look like, when they come due, how they read (contract 11.6, 13.12)."""

from __future__ import annotations

import copy
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from kvern.service.cron_words import Values, sentence
from kvern.wire.errors import InvalidError

_EPOCH = datetime(1970, 1, 1)
_SECOND = timedelta(seconds=1)

_VALUE = "(?:[0-9]{1,2}|[A-Za-z]{3})"
_PART = rf"(?:\*|{_VALUE}(?:-{_VALUE})?)(?:/[0-9]{{1,2}})?"
_FIELD = re.compile(rf"{_PART}(?:,{_PART})*")
"""`*`, values, ranges and steps, in lists; what Quartz and others add is refused (contract 13.12)."""


def check_cron(expression: str) -> None:
    """Raises `InvalidError` unless it is five fields that cronsim understands and that come due at some time."""
    fields = expression.split()
    if len(fields) != 5:
        raise InvalidError(
            "Expected a cron expression of five fields (minute hour day-of-month month day-of-week), "
            f"given {len(fields)} in {expression[:80]!r}"
        )
    for field in fields:
        if not _FIELD.fullmatch(field):
            raise InvalidError(
                "Expected `*`, numbers, names, ranges, steps and lists of them in a cron expression, "
                f"given {field[:40]!r}"
            )
    for text, field in zip([*fields[:4], _until_sunday(fields[4])], _FIELDS, strict=True):
        for part in text.split(","):
            _check_range(part, field)
    try:
        _rule(expression)
    except CronSimError as error:
        raise InvalidError(f"Expected a good cron expression, given {expression[:80]!r}: {error}") from error
    if next_due(expression, 0) is None:
        raise InvalidError(f"Expected a cron expression that comes due at some time, given {expression[:80]!r}")


def check_zone(name: str) -> None:
    """Raises `InvalidError` unless it is a time zone of the IANA database."""
    if name not in _zones():
        raise InvalidError(f"Expected a time zone of the IANA database such as `Europe/Oslo`, given {name[:64]!r}")


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def next_due(expression: str, after: int, zone: str | None = None) -> int | None:
    """The first due time after a moment, both in ms since the epoch; None when there is none in 50 years."""
    return next(due_times(expression, after, zone), None)


def due_times(expression: str, after: int, zone: str | None = None) -> Iterator[int]:
    """All due times after a moment, in order, all in ms since the epoch.

    Args:
        expression: five fields that `check_cron` found good.
        after: ms since the epoch; a due time at this very moment is not given.
        zone: of the clock that the rule is about; UTC when None.

    A rule whose minute and hour do not begin with `*` comes due once a day for each of its times: one that the clock
    skips, at the moment of the change; one that comes twice, the first time. The other rules say how often, and
    follow the clock: what it skips does not come, what it shows twice comes twice. Both as in Debian's cron.
    """
    if zone is None or zone == "UTC":
        return _in_utc(expression, after)
    if _is_fixed(expression):
        return _fixed(expression, after, ZoneInfo(zone))
    return _recurring(expression, after, ZoneInfo(zone))


@lru_cache(maxsize=4096)
def _rule(expression: str) -> CronSim:
    *others, weekdays = expression.split()
    return CronSim(" ".join([*others, _until_sunday(weekdays)]), _EPOCH)


@dataclass(frozen=True, slots=True)
class _Field:
    """The values that a field may have, and their names. Weekday 7 is another name of 0."""

    values: range
    names: tuple[str, ...] = ()

    def number(self, word: str) -> int | None:
        if word.upper() in self.names:
            return self.values[self.names.index(word.upper())]
        return int(word) if word.isdigit() else None


_FIELDS = (
    _Field(range(60)),
    _Field(range(24)),
    _Field(range(1, 32)),
    _Field(range(1, 13), ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")),
    _Field(range(7), ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")),
)


def _until_sunday(field: str) -> str:
    """The weekdays in which a range to `SUN` goes on to the end of the week, as it reads: to cronsim it is 0 only."""
    return re.sub(r"-SUN\b", "-7", field, flags=re.IGNORECASE)


def _check_range(part: str, field: _Field) -> None:
    """Raises `InvalidError` for a range that goes on after the end, such as `FRI-MON` or `22-2`: cron has none."""
    span, _, step = part.partition("/")
    first, _, last = span.partition("-")
    start, end = field.number(first), field.number(last)
    if start is None or end is None or start <= end or not {start, end} <= {*field.values}:
        return
    around = [*field.values[field.values.index(start) :], *field.values[: field.values.index(end) + 1]]
    if first.isdigit() and last.isdigit() and not step:
        instead = f"{start}-{field.values[-1]},{field.values[0]}-{end}"
    else:
        chosen = around[:: int(step or 1) or 1]
        instead = ",".join(field.names[field.values.index(one)] if field.names else str(one) for one in chosen)
    raise InvalidError(
        f"Expected a range from the lesser value to the greater one in a cron expression, given {part!r}; "
        f"write {instead!r} for what goes on after the end"
    )


def _matches(expression: str, after: datetime) -> Iterator[datetime]:
    """What a clock on the wall shows when the rule matches. Parsing is most of the cost, and is done once."""
    rule = copy.copy(_rule(expression))
    rule.dt = after.replace(microsecond=0)
    return rule


def _is_fixed(expression: str) -> bool:
    minute, hour, *_ = expression.split()
    return not minute.startswith("*") and not hour.startswith("*")


def _in_utc(expression: str, after: int) -> Iterator[int]:
    for shown in _matches(expression, _EPOCH + timedelta(milliseconds=after)):
        yield _milliseconds(shown)


def _fixed(expression: str, after: int, zone: ZoneInfo) -> Iterator[int]:
    last = after
    for shown in _matches(expression, _shown(after, zone)):
        due = _milliseconds(shown) - _offset(shown.replace(tzinfo=zone))
        if _shown(due, zone) != shown:  # the clock skips it
            due = max(change for change in _changes_around(due, zone) if change <= due)
        if due > last:
            last = due
            yield due


def _recurring(expression: str, after: int, zone: ZoneInfo) -> Iterator[int]:
    """From one change of the clock to the next: between them it runs as any clock."""
    start = after
    while True:
        offset = _offset_at(start, zone)
        end: int | None = None
        # A due time at the change itself belongs to what comes after it.
        for shown in _matches(expression, _EPOCH + timedelta(milliseconds=start + offset)):
            due = _milliseconds(shown) - offset
            end = _first_change(start, due, zone)
            if end is not None:
                break
            yield due
        if end is None:
            return
        if _is_due_at(expression, end, zone):
            yield end
        start = end


def _is_due_at(expression: str, moment: int, zone: ZoneInfo) -> bool:
    shown = _shown(moment, zone)
    return next(_matches(expression, shown - _SECOND), None) == shown


def _shown(moment: int, zone: ZoneInfo) -> datetime:
    """What the clock of a zone shows at a moment."""
    return datetime.fromtimestamp(moment / 1000, zone).replace(tzinfo=None, fold=0)


def _milliseconds(shown: datetime) -> int:
    return round((shown - _EPOCH) / timedelta(milliseconds=1))


def _offset(shown: datetime) -> int:
    return round((shown.utcoffset() or timedelta()) / timedelta(milliseconds=1))


def _offset_at(moment: int, zone: ZoneInfo) -> int:
    return _offset(datetime.fromtimestamp(moment / 1000, zone))


def _first_change(after: int, until: int, zone: ZoneInfo) -> int | None:
    """The first change of a zone's offset after one moment and not after another."""
    for year in range(_year(after), _year(until) + 1):
        for change in _changes(year, zone):
            if after < change <= until:
                return change
    return None


def _changes_around(moment: int, zone: ZoneInfo) -> list[int]:
    year = _year(moment)
    return [change for one in (year - 1, year) for change in _changes(one, zone)]


def _year(moment: int) -> int:
    return datetime.fromtimestamp(moment / 1000, UTC).year


@lru_cache(maxsize=4096)
def _changes(year: int, zone: ZoneInfo) -> tuple[int, ...]:
    """The moments of a year (UTC) at which a zone's offset changes; no zone changes it twice within a day."""
    first, last = (int(datetime(one, 1, 1, tzinfo=UTC).timestamp()) for one in (year, year + 1))
    found: list[int] = []
    for start in range(first, last, 86_400):
        before, after = start - 1, min(start + 86_400, last) - 1
        if _offset_at(before * 1000, zone) == (offset := _offset_at(after * 1000, zone)):
            continue
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (before, middle) if _offset_at(middle * 1000, zone) == offset else (middle, after)
        found.append(after * 1000)
    return tuple(found)


@lru_cache(maxsize=4096)
def describe(expression: str, zone: str | None = None) -> str:
    """The rule as an English sentence, such as `At 08:00` (contract 11.6); with its time zone, when it has one."""
    try:
        rule = _rule(expression)
    except CronSimError:  # it is for display only: a rule that never comes due is shown as it is
        return expression
    weekdays = {one % 7 for one in rule.weekdays if isinstance(one, int)}
    steps = {place for place, field in enumerate(expression.split()) if "/" in field}
    values = Values(rule.minutes, rule.hours, rule.days, rule.months, weekdays, rule.day_and, steps)
    text = sentence(values)
    return text if zone is None else f"{text} ({zone})"
