"""Cron rules against a second implementation, and against a plain look at every minute where clocks change."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter

from kvern.service.cron import check_cron, check_zone, describe, due_times, next_due
from kvern.wire.errors import InvalidError

MINUTE = 60_000
FIELDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def random_rule(chance: random.Random) -> str:
    """Five fields that come due at some time; without ranges of one value, which croniter takes for all values."""

    def one(least: int, most: int) -> str:
        low = chance.randint(least, most - 1)
        high = chance.randint(low + 1, most)
        step = chance.randint(1, 20)
        shapes = ["*", "*", str(low), f"{low}-{high}", f"*/{step}", f"{low}-{high}/{step}", f"{low},{high}"]
        return chance.choice(shapes)

    while True:
        rule = " ".join(one(least, most) for least, most in FIELDS)
        try:
            check_cron(rule)
        except InvalidError:
            continue
        return rule


def differences(rules: int, seed: int, count: int) -> list[tuple[str, datetime]]:
    """Rules, and moments in ten years from which the next `count` due times are not those that croniter tells."""
    chance = random.Random(seed)
    found: list[tuple[str, datetime]] = []
    for _ in range(rules):
        rule = random_rule(chance)
        begin = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(10 * 365 * 1440))
        theirs = croniter(rule, begin, implement_cron_bug=True, max_years_between_matches=50)
        ours = due_times(rule, round((begin - EPOCH) / timedelta(milliseconds=1)))
        expected = [theirs.get_next(datetime) for _ in range(count)]
        if [EPOCH + timedelta(milliseconds=due) for due in itertools.islice(ours, count)] != expected:
            found.append((rule, begin))
    return found


def test_random_rules_come_due_as_a_second_implementation_says() -> None:
    assert differences(rules=100, seed=1, count=12) == []


@pytest.mark.parametrize(
    ("rule", "begin", "end"),
    [
        ("0 0 29 2 *", 2024, 2034),
        ("30 12 31 * *", 2024, 2034),
        ("0 6 28-31 * 5", 2024, 2034),
        ("0 0 1 1 *", 2024, 2034),
    ],
)
def test_leap_days_and_month_ends_over_ten_years(rule: str, begin: int, end: int) -> None:
    first, last = datetime(begin, 1, 1, tzinfo=UTC), datetime(end, 1, 1, tzinfo=UTC)
    theirs = croniter(rule, first, implement_cron_bug=True)
    expected = list(itertools.takewhile(lambda due: due < last, (theirs.get_next(datetime) for _ in range(2000))))
    ours = itertools.takewhile(
        lambda due: due < last.timestamp() * 1000, due_times(rule, int(first.timestamp()) * 1000)
    )
    assert [EPOCH + timedelta(milliseconds=due) for due in ours] == expected


CHANGES = [
    ("Europe/Oslo", "2026-03-29"),  # 02:00 becomes 03:00
    ("Europe/Oslo", "2026-10-25"),  # 03:00 becomes 02:00
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),  # half an hour: 02:00 becomes 01:30
    ("Australia/Lord_Howe", "2026-10-04"),  # 02:00 becomes 02:30
    ("America/Santiago", "2026-09-06"),  # midnight becomes 01:00
]


def matches(rule: str, wall: datetime) -> bool:
    """Of rules whose day of the month and month are `*`."""
    minutes, hours, _, _, days, *_ = croniter.expand(rule)[0]
    values = ((minutes, wall.minute), (hours, wall.hour), (days, wall.isoweekday() % 7))
    return all(field == ["*"] or value in field for field, value in values)


def shown(moment: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(moment / 1000, zone).replace(tzinfo=None, fold=0)


@pytest.mark.parametrize(("zone", "day"), CHANGES)
@pytest.mark.parametrize("rule", ["*/20 * * * *", "* 2 * * *", "*/30 1-2 * * *", "15 */2 * * *", "45 * * * 0"])
def test_a_rule_that_says_how_often_follows_the_clock_where_it_changes(zone: str, day: str, rule: str) -> None:
    """Due at each minute of real time at which the clock shows what the rule says."""
    its = ZoneInfo(zone)
    first = at(f"{day}T00:00:00+00:00") - 12 * 60 * MINUTE
    minutes = range(first + MINUTE, first + 22 * 60 * MINUTE, MINUTE)
    expected = [moment for moment in minutes if matches(rule, shown(moment, its))]
    assert list(itertools.takewhile(lambda due: due in minutes, due_times(rule, first, zone))) == expected
    for begin in chosen(minutes):
        assert next_due(rule, begin, zone) == next(
            (due for due in expected if due > begin), next_due(rule, minutes[-1], zone)
        )


def chosen(minutes: range) -> list[int]:
    return random.Random(1).sample(minutes, 20)


@pytest.mark.parametrize(("zone", "day"), CHANGES)
@pytest.mark.parametrize("rule", ["30 2 * * *", "45 1 * * *", "0,15,45 0-3 * * *", "30 0 * * *", "0 12 * * *"])
def test_a_rule_with_fixed_times_comes_due_once_for_each_where_the_clock_changes(
    zone: str, day: str, rule: str
) -> None:
    """At the first minute at which the clock shows the time, or has passed it because it was set forward."""
    its = ZoneInfo(zone)
    first = at(f"{day}T00:00:00+00:00") - 12 * 60 * MINUTE
    minutes = range(first + MINUTE, first + 22 * 60 * MINUTE, MINUTE)
    clock = [(moment, shown(moment, its)) for moment in minutes]
    expected: set[int] = set()
    wall = clock[0][1]
    while wall <= clock[-1][1]:
        if matches(rule, wall):
            expected.add(next(moment for moment, text in clock if text >= wall))
        wall += timedelta(minutes=1)
    due = list(itertools.takewhile(lambda one: one in minutes, due_times(rule, first, zone)))
    assert due == sorted(expected)
    for begin in chosen(minutes):
        later = [one for one in due if one > begin]
        assert not later or next_due(rule, begin, zone) == later[0]


def test_what_the_clock_skips_and_shows_twice_in_words() -> None:
    spring, autumn = at("2026-03-28T12:00:00+00:00"), at("2026-10-24T12:00:00+00:00")
    assert next_due("30 2 * * *", spring, "Europe/Oslo") == at("2026-03-29T03:00:00+02:00")
    assert next_due("30 2 * * *", autumn, "Europe/Oslo") == at("2026-10-25T02:30:00+02:00")
    assert next_due("30 2 * * *", at("2026-10-25T02:30:00+02:00"), "Europe/Oslo") == at("2026-10-26T02:30:00+01:00")
    twice = [at("2026-10-25T02:00:00+02:00"), at("2026-10-25T02:00:00+01:00")]
    assert list(itertools.islice(due_times("* 2 * * *", twice[0] - 1, "Europe/Oslo"), 0, 120, 60)) == twice


def test_a_rule_for_which_a_zone_has_no_time_soon() -> None:
    assert next_due("0 0 29 2 *", at("2026-01-01T00:00:00+00:00"), "Asia/Kolkata") == at("2028-02-29T00:00:00+05:30")


@pytest.mark.parametrize("name", ["", "Oslo", "europe/oslo", "../../etc/passwd", "Europe", "UTC+1", "\0"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidError, match=r"^Expected a time zone .* given "):
        check_zone(name)


def test_zones() -> None:
    for name in ("UTC", "Europe/Oslo", "Asia/Kolkata"):
        check_zone(name)
    assert describe("0 8 * * *", "Europe/Oslo") == "At 08:00 (Europe/Oslo)"
