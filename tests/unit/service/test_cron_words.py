"""What is said of a cron rule is true of its due times."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from kvern.service.cron import check_cron, describe, due_times
from kvern.wire.errors import InvalidError

RULES = {
    # as people know it from other services
    "* * * * *": "Every minute",
    "*/5 * * * *": "Every 5 minutes",
    "5/20 * * * *": "Every 20 minutes, starting at 5 minutes past the hour",
    "0 * * * *": "Every hour",
    "1 * * * *": "At 1 minute past the hour",
    "5,10 * * * *": "At 5 and 10 minutes past the hour",
    "5-10 * * * *": "Minutes 5 through 10 past the hour",
    "0 */2 * * *": "Every 2 hours",
    "30 */2 * * *": "At 30 minutes past the hour, every 2 hours",
    "0 8 * * *": "At 08:00",
    "0 8,17 * * *": "At 08:00 and 17:00",
    "*/30 8-17 * * *": "Every 30 minutes, between 08:00 and 17:59",
    "0 0 1,15 * *": "At 00:00, on day 1 and 15 of the month",
    "0 0 1-7 * *": "At 00:00, between day 1 and 7 of the month",
    "0 0 * * 1-5": "At 00:00, Monday through Friday",
    "0 0 * * sun,SAT": "At 00:00, only on Saturday and Sunday",
    "0 0 1 jan,JUL *": "At 00:00, on day 1 of the month, only in January and July",
    "0 0 * */3 *": "At 00:00, every 3 months",
    # steps that are not even: longer than the field, or cut short at its end
    "*/90 * * * *": "Every hour",
    "*/60 * * * *": "Every hour",
    "*/45 * * * *": "At 0 and 45 minutes past the hour",
    "*/59 * * * *": "At 0 and 59 minutes past the hour",
    "10/25 * * * *": "At 10 and 35 minutes past the hour",
    "5-40/20 * * * *": "At 5 and 25 minutes past the hour",
    "0 */48 * * *": "At 00:00",
    "0 */24 * * *": "At 00:00",
    "0 */5 * * *": "At 00:00, 05:00, 10:00, 15:00, and 20:00",
    "*/15 */48 * * *": "Every 15 minutes, between 00:00 and 00:59",
    "*/15 */7 * * *": "Every 15 minutes, in the hours 00, 07, 14, and 21",
    "0 0 */10 * *": "At 00:00, on day 1, 11, 21, and 31 of the month",
    "0 0 */40 * *": "At 00:00, on day 1 of the month",
    "0 0 * */5 *": "At 00:00, only in January, June, and November",
    "0 0 * */24 *": "At 00:00, only in January",
    "0 0 * * */2": "At 00:00, only on Tuesday, Thursday, Saturday, and Sunday",
    "0 0 * * */9": "At 00:00, only on Sunday",
    "0 0 * * 1/3": "At 00:00, only on Monday, Thursday, and Sunday",
    # minutes are not times of day
    "15,45 8,17 * * *": "At 15 and 45 minutes past the hour, in the hours 08 and 17",
    "*/20 9 * * *": "Every 20 minutes, between 09:00 and 09:59",
    # days of the month and weekdays: both where one begins with a star, else one of them
    "0 0 */10 * 1": "At 00:00, on day 1, 11, 21, and 31 of the month, if that day is Monday",
    "0 0 1 * */3": "At 00:00, on day 1 of the month, if that day is Wednesday, Saturday, or Sunday",
    "0 0 1 * 1": "At 00:00, on day 1 of the month, or on Monday",
    "0 0 13 * 1-5": "At 00:00, on day 13 of the month, or Monday through Friday",
    "0 0 1-31 * 1": "At 00:00",
    "0 0 13 * 0-6": "At 00:00",
    # whole fields that are not written as a star
    "0-59 0-23 1-31 1-12 0-7": "Every minute",
    "*,5 * * * *": "Every minute",
    # ranges to Sunday
    "0 9 * * SAT-SUN": "At 09:00, only on Saturday and Sunday",
    "0 9 * * fri-sun": "At 09:00, Friday through Sunday",
    "0 9 * * MON-SUN": "At 09:00",
    "0 9 * * WED-SUN/2": "At 09:00, only on Wednesday, Friday, and Sunday",
    # what goes on after the end of a day, a week and a year
    "*/15 22-23,0-2 * * *": "Every 15 minutes, between 22:00 and 02:59",
    "0 9 * * FRI,SAT,SUN,MON": "At 09:00, Friday through Monday",
    "0 0 * 11-12,1-2 *": "At 00:00, November through February",
}


@pytest.mark.parametrize("rule", RULES)
def test_the_words_of_a_rule(rule: str) -> None:
    check_cron(rule)
    assert describe(rule) == RULES[rule]


@pytest.mark.parametrize(
    ("rule", "instead"),
    [
        ("0 9 * * FRI-MON", "FRI,SAT,SUN,MON"),
        ("0 9 * * 5-1", "5-6,0-1"),
        ("*/15 22-2 * * *", "22-23,0-2"),
        ("0 22-4/2 * * *", "22,0,2,4"),
        ("0 0 * nov-FEB *", "NOV,DEC,JAN,FEB"),
        ("58-1 * * * *", "58-59,0-1"),
        ("0 0 1,30-2 * *", "30-31,1-2"),
    ],
)
def test_a_range_that_goes_on_after_the_end_is_refused_and_told_how_to_write_it(rule: str, instead: str) -> None:
    with pytest.raises(InvalidError, match=rf"^Expected a range .* given '.*'; write '{instead}' for ") as caught:
        check_cron(rule)
    given = caught.value.message.split("'")[1]
    check_cron(rule.replace(given, instead))


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = tuple(datetime(2026, month, 1, tzinfo=UTC).strftime("%B") for month in range(1, 13))
CLOCK = re.compile(r"(\d\d):(\d\d)")
HOURS = r"\d\d(?: through \d\d)?"


def read(text: str) -> tuple[list[datetime], set[int]]:
    """Days of 2028, and minutes of a day, that a sentence names; fails for words that it does not know."""
    return read_days(text), read_times(text)


def items(text: str) -> list[str]:
    return re.split(r",? (?:and|or) |, ", text)


def span(names: tuple[str, ...], first: str, last: str) -> list[str]:
    start, end = names.index(first), names.index(last)
    return [names[one % len(names)] for one in range(start, (end if end >= start else end + len(names)) + 1)]


def named(text: str, names: tuple[str, ...]) -> list[str]:
    if " through " in text:
        return span(names, *text.split(" through "))
    return items(text)


def numbers(text: str) -> list[int]:
    found: list[int] = []
    for part in items(text):
        first, _, last = part.partition(" through ")
        found += range(int(first), int(last or first) + 1)
    return found


def read_days(text: str) -> list[datetime]:
    one_of = f"(?:{'|'.join(WEEKDAYS)})"
    several = rf"{one_of}(?: through {one_of}|(?:, {one_of})*(?:,? (?:and|or) {one_of})?)"
    month = f"(?:{'|'.join(MONTHS)})"
    months = re.search(rf", (?:only in )?({month}(?: through {month}|(?:, {month})*(?:,? and {month})?))$", text)
    every = re.search(r", every (\d+) months$", text)
    on = re.search(r", on day ([\d, a-z]+?) of the month", text)
    between = re.search(r", between day (\d+) and (\d+) of the month", text)
    week = re.search(rf", (only on |or on |or |if that day is |)({several})(?:$|, )", text)
    first = datetime(2028, 1, 1, tzinfo=UTC)
    found: list[datetime] = []
    for day in (first + timedelta(days=number) for number in range(366)):
        if months and MONTHS[day.month - 1] not in named(months[1], MONTHS):
            continue
        if every and (day.month - 1) % int(every[1]):
            continue
        of_month = True
        if on or between:
            chosen = numbers(on[1]) if on else range(int(between[1]), int(between[2]) + 1) if between else ()
            of_month = day.day in chosen
        of_week = week is None or WEEKDAYS[day.weekday()] in named(week[2], WEEKDAYS)
        if (of_month or of_week) if week and week[1].startswith("or") else (of_month and of_week):
            found.append(day)
    return found


def read_times(text: str) -> set[int]:
    """Minutes of the day."""
    clocks = re.match(r"At (\d\d:\d\d(?:, \d\d:\d\d)*(?:,? and \d\d:\d\d)?)(?:$|, )", text)
    if clocks:
        return {int(hour) * 60 + int(minute) for hour, minute in CLOCK.findall(clocks[1])}
    if text.startswith("Every hour"):
        return set(range(0, 1440, 60))
    if every := re.match(r"Every (\d+) hours", text):
        return set(range(0, 1440, int(every[1]) * 60))
    hours = list(range(24))
    if every := re.search(r", every (\d+) hours", text):
        hours = list(range(0, 24, int(every[1])))
    elif between := re.search(r", between (\d\d):00 and (\d\d):59", text):
        hours = [int(one) for one in span(tuple(map(str, range(24))), *(str(int(end)) for end in between.groups()))]
    elif listed := re.search(rf", in the hours ({HOURS}(?:, {HOURS})*(?:,? and {HOURS})?)(?:$|, )", text):
        hours = numbers(listed[1])
    return {hour * 60 + minute for hour in hours for minute in read_minutes(text)}


def read_minutes(text: str) -> list[int]:
    if text.startswith("Every minute"):
        return list(range(60))
    if every := re.match(r"Every (\d+) minutes(?:, starting at (\d+) minutes past the hour)?", text):
        assert 60 % int(every[1]) == 0, f"not for ever: {text}"
        return list(range(int(every[2] or 0), 60, int(every[1])))
    if run := re.match(r"Minutes (\d+) through (\d+) past the hour", text):
        return list(range(int(run[1]), int(run[2]) + 1))
    at = re.match(r"At ([\d, a-z]+) minutes? past the hour", text)
    assert at, f"words that nobody knows: {text}"
    return numbers(at[1])


def random_rule(chance: random.Random) -> str:
    fields = ((0, 59, 99), (0, 23, 50), (1, 31, 40), (1, 12, 20), (0, 7, 9))

    def one(least: int, most: int, step: int) -> str:
        low, high = chance.randint(least, most), chance.randint(least, most)
        by = chance.randint(1, step)
        shapes = ["*", "*", "*", f"*/{by}", f"*/{by}", f"{low}", f"{low},{high}", f"{low}-{high}", f"{low}-{high}/{by}"]
        return chance.choice([*shapes, f"{low}/{by}", f"{low},{high}-{most}"])

    while True:
        rule = " ".join(one(*field) for field in fields)
        try:
            check_cron(rule)
        except InvalidError:
            continue
        return rule


def moments(rule: str, since: datetime, until: datetime) -> Iterator[datetime]:
    """When a rule comes due from one moment to before another."""
    for due in due_times(rule, int(since.timestamp() * 1000) - 1):
        moment = datetime.fromtimestamp(due / 1000, UTC)
        if moment >= until:
            return
        yield moment


def test_random_rules_come_due_when_their_words_say() -> None:
    """On the days that are said, the first and the last of 2028 and those around them, at the times that are said."""
    chance = random.Random(1)
    for rule in [*RULES, *(random_rule(chance) for _ in range(150))]:
        text = describe(rule)
        days, minutes = read(text)
        around = {
            day + timedelta(days=more)
            for day in {*days[:1], *days[len(days) // 2 :][:1], *days[-1:]}
            for more in (-1, 0, 1)
        }
        for day in sorted(one for one in around if one.year == 2028):
            said = [day + timedelta(minutes=minute) for minute in sorted(minutes)] if day in days else []
            assert list(moments(rule, day, day + timedelta(days=1))) == said, (rule, text)
