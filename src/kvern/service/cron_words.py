"""A cron rule as an English sentence (contract 11.6), made of the values that its fields really have.

A step is told as one, such as `every 15 minutes`, only where the values are that far apart for ever, also from the last
of an hour, a day or a year to the first of the next. Anything else is told as the plain list of its values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_RUN = 3
"""Values in a row that are told as `from through to`; fewer are told one by one."""


@dataclass(frozen=True, slots=True)
class Values:
    """What the fields of a rule mean.

    Args:
        weekdays: from 0, which is Sunday, to 6.
        both: whether a day must match the day of the month and the weekday, and not one of them.
        steps: which of the five fields, from 0, were written with a step.
    """

    minutes: Collection[int]
    hours: Collection[int]
    days: Collection[int]
    months: Collection[int]
    weekdays: Collection[int]
    both: bool
    steps: Collection[int] = ()


def sentence(values: Values) -> str:
    """The rule in words, such as `At 08:00, Monday through Friday`."""
    parts = [*_times(values), *_days(values), *_months(values)]
    return ", ".join(parts)


def _times(values: Values) -> list[str]:
    minutes, hours = sorted(values.minutes), sorted(values.hours)
    every_hour = len(hours) == 24
    apart = _even_step(hours, 24) if 1 in values.steps else None
    if len(minutes) > 1:
        return [*_minutes(minutes, stepped=0 in values.steps), *([] if every_hour else [_hours(hours)])]
    (minute,) = minutes
    past = f"At {minute} {'minute' if minute == 1 else 'minutes'} past the hour"
    if every_hour:
        return ["Every hour" if minute == 0 else past]
    if apart is not None and hours[0] == 0:
        return [f"Every {apart} hours"] if minute == 0 else [past, f"every {apart} hours"]
    if len(hours) >= _RUN and _is_run(hours):
        return [past, _hours(hours)]
    return [f"At {_listed([f'{hour:02}:{minute:02}' for hour in hours])}"]


def _minutes(minutes: list[int], *, stepped: bool) -> list[str]:
    if len(minutes) == 60:
        return ["Every minute"]
    apart = _even_step(minutes, 60) if stepped else None
    if apart is not None and minutes[0] == 0:
        return [f"Every {apart} minutes"]
    if apart is not None:
        return [f"Every {apart} minutes, starting at {minutes[0]} minutes past the hour"]
    if len(minutes) >= _RUN and _is_run(minutes):
        return [f"Minutes {minutes[0]} through {minutes[-1]} past the hour"]
    return [f"At {_listed(_runs(minutes, str))} minutes past the hour"]


def _hours(hours: list[int]) -> str:
    if _is_run(hours):
        return f"between {hours[0]:02}:00 and {hours[-1]:02}:59"
    gap = next((index for index, (one, other) in enumerate(pairwise(hours), 1) if other - one > 1), 0)
    if _is_run(hours[:gap]) and _is_run([*hours[gap:], 24]) and hours[0] == 0:
        return f"between {hours[gap]:02}:00 and {hours[gap - 1]:02}:59"  # over midnight
    return f"in the hours {_listed(_runs(hours, '{:02}'.format))}"


def _days(values: Values) -> list[str]:
    every_day, every_weekday = len(set(values.days)) == 31, len(set(values.weekdays)) == 7
    if values.both:
        if every_day:
            return [] if every_weekday else [_weekdays(values.weekdays, "only on ")]
        on = _days_of_month(sorted(values.days))
        if every_weekday:
            return [on]
        return [f"{on}, if that day is {_weekdays(values.weekdays, '', ' or ')}"]
    if every_day or every_weekday:
        return []
    return [_days_of_month(sorted(values.days)), f"or {_weekdays(values.weekdays, 'on ')}"]


def _days_of_month(days: list[int]) -> str:
    if len(days) >= _RUN and _is_run(days):
        return f"between day {days[0]} and {days[-1]} of the month"
    return f"on day {_listed(_runs(days, str))} of the month"


def _weekdays(weekdays: Collection[int], before: str, link: str = " and ") -> str:
    run = _run_around(weekdays, range(7))
    if run is not None:
        return f"{_WEEKDAYS[run[0]]} through {_WEEKDAYS[run[1]]}"
    from_monday = sorted(weekdays, key=lambda day: (day - 1) % 7)
    return before + _listed([_WEEKDAYS[day] for day in from_monday], link)


def _months(values: Values) -> list[str]:
    months = sorted(values.months)
    if len(months) == 12:
        return []
    apart = _even_step(months, 12) if 3 in values.steps else None
    if apart is not None and months[0] == 1:
        return [f"every {apart} months"]
    run = _run_around(months, range(1, 13))
    if run is not None:
        return [f"{_MONTHS[run[0] - 1]} through {_MONTHS[run[1] - 1]}"]
    return [f"only in {_listed([_MONTHS[month - 1] for month in months])}"]


def _even_step(values: Sequence[int], cycle: int) -> int | None:
    """How far apart the values are for ever; None when they are not, or when there is one only."""
    if len(values) < 2:
        return None
    around = [*values, values[0] + cycle]
    apart = {later - earlier for earlier, later in pairwise(around)}
    return apart.pop() if len(apart) == 1 else None


def _is_run(values: Sequence[int]) -> bool:
    return values[-1] - values[0] == len(values) - 1


def _run_around(values: Collection[int], cycle: range) -> tuple[int, int] | None:
    """First and last of values that follow one another, perhaps over the end of the cycle; None when they do not."""
    if len(values) < _RUN:
        return None
    length = len(cycle)
    firsts = [one for one in values if (one - 1 - cycle[0]) % length + cycle[0] not in values]
    if len(firsts) != 1:
        return None
    return firsts[0], (firsts[0] + len(values) - 1 - cycle[0]) % length + cycle[0]


def _runs(values: Sequence[int], shown: Callable[[int], str]) -> list[str]:
    """The values one by one, but several in a row as `1 through 5`."""
    parts: list[str] = []
    start = 0
    for index in range(1, len(values) + 1):
        if index < len(values) and values[index] == values[index - 1] + 1:
            continue
        run = values[start:index]
        if len(run) >= _RUN:
            parts.append(f"{shown(run[0])} through {shown(run[-1])}")
        else:
            parts.extend(shown(one) for one in run)
        start = index
    return parts


def _listed(parts: Sequence[str], link: str = " and ") -> str:
    if len(parts) < 3:
        return link.join(parts)
    return f"{', '.join(parts[:-1])},{link}{parts[-1]}"
