"""`kvern schedules`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from kvern.cli import connection, inputs, lookup, output, policies
from kvern.cli.complaint import Complaint
from kvern.cli.options import DEFAULT, Options

if TYPE_CHECKING:
    from kvern.client import CogniteClient
    from kvern.client.data_classes.functions import FunctionSchedule

_Outcome = Literal["ran", "late", "skipped", "queued"]

schedules = App(name="schedules")


@schedules.default
def list_schedules(*, function: str | None = None, options: Options = DEFAULT) -> int:
    """List, make, pause and delete schedules, and see how their due times ended.

    For example:

        kvern schedules
        kvern schedules --function trend --json
        kvern schedules create nightly "0 2 * * *" --function trend
        kvern schedules ticks nightly
        kvern schedules pause nightly
        kvern schedules delete nightly

    Args:
        function: Only schedules of this function: external id, else name, else id.
    """
    client = connection.connect(options)
    function_id = lookup.function(client, function).id if function is not None else None
    found = client.functions.schedules.list(function_id=function_id, limit=None)
    if options.json:
        output.as_json(found.dump())
    elif not found:
        output.note('There are no schedules. Make one: kvern schedules create NAME "0 8 * * *" --function FUNCTION')
    else:
        called = {one.id: lookup.called(one) for one in client.functions.list(limit=None)}
        output.table(
            ["NAME", "FUNCTION", "CRON (UTC)", "WHEN", "ID"],
            [
                (
                    one.name,
                    called.get(int(one.function_id or 0), one.function_id),
                    one.cron_expression,
                    one.when,
                    one.id,
                )
                for one in found
            ],
        )
    return 0


@schedules.command
def create(
    name: str,
    cron: str,
    /,
    *,
    function: str,
    data: Annotated[str | None, Parameter(alias="-d", allow_leading_hyphen=True)] = None,
    description: str | None = None,
    time_zone: str | None = None,
    missed: Literal["skip", "last", "all"] | None = None,
    missed_window: int | None = None,
    overlap: Literal["allow", "skip", "queue"] | None = None,
    options: Options = DEFAULT,
) -> int:
    """Call a function at the times of a cron expression.

    For example:

        kvern schedules create nightly "0 2 * * *" --function trend --data '{"file": "mauna-loa-co2"}'
        kvern schedules create often "*/5 8-16 * * mon-fri" --function quality --data @input.json
        kvern schedules create report "0 7 * * mon" --function trend --time-zone Europe/Oslo --missed last
        kvern schedules create slow "* * * * *" --function trend --overlap queue

    Args:
        name: What people call it.
        cron: Five fields: minute, hour, day of the month, month, day of the week. Put it in quotes.
        function: External id of the function, else its name, else its id.
        data: Input of every call: JSON, @FILE with JSON, or - for standard input.
        description: What it is for.
        time_zone: Of the clock that the expression is about, such as Europe/Oslo. Default: UTC.
        missed: What becomes of times that passed while the service was down: nothing (skip), the last one is called
            late, or all are, one after the other. Default: skip.
        missed_window: How many seconds ago a missed time may be to be called late. Default: a day.
        overlap: What becomes of a time at which an earlier call still runs: it is called too (allow), skipped, or
            called when that one ends (queue). Default: allow.
    """
    given = None if data is None else inputs.data(data)
    client = connection.connect(options)
    function_id = lookup.function(client, function).id
    made = policies.create(
        client,
        {
            "name": name,
            "cronExpression": cron,
            "functionId": function_id,
            "description": description,
            "data": given,
            "timeZone": time_zone,
            "missed": missed,
            "missedWindow": missed_window,
            "overlap": overlap,
        },
    )
    if options.json:
        output.as_json(made)
    else:
        output.say(f"{name} calls {function}: {made['when']} (id {made['id']})")
    return 0


@schedules.command
def delete(names: Annotated[tuple[str, ...], Parameter(name="NAME")], /, *, options: Options = DEFAULT) -> int:
    """Delete schedules. Their past calls stay.

    For example:

        kvern schedules delete nightly
        kvern schedules delete 4711 4712

    Args:
        names: Names or ids.
    """
    if not names:
        raise Complaint("say which schedule to delete; `kvern schedules` lists them", exit_code=2)
    client = connection.connect(options)
    found = {one.id: one for one in [_find(client, name) for name in names]}
    for one in found.values():
        client.functions.schedules.delete(one.id)
    if options.json:
        output.as_json([one.dump() for one in found.values()])
    else:
        for one in found.values():
            output.say(f"{one.name} is deleted")
    return 0


@schedules.command
def pause(names: Annotated[tuple[str, ...], Parameter(name="NAME")], /, *, options: Options = DEFAULT) -> int:
    """Let the times of schedules pass without a call, until they are resumed.

    For example:

        kvern schedules pause nightly

    Args:
        names: Names or ids.
    """
    return _set_paused(names, "pause", "is paused", options)


@schedules.command
def resume(names: Annotated[tuple[str, ...], Parameter(name="NAME")], /, *, options: Options = DEFAULT) -> int:
    """Have paused schedules call their functions again, from their next time on.

    For example:

        kvern schedules resume nightly

    Args:
        names: Names or ids.
    """
    return _set_paused(names, "resume", "is resumed", options)


def _set_paused(names: tuple[str, ...], verb: str, told: str, options: Options) -> int:
    if not names:
        raise Complaint(f"say which schedule to {verb}; `kvern schedules` lists them", exit_code=2)
    client = connection.connect(options)
    items = [{"id": number} for number in dict.fromkeys(_find(client, name).id for name in names)]
    answer = client.post(f"{policies.PATH}/{verb}", {"items": items}).json()
    if options.json:
        output.as_json(answer["items"])
    else:
        for one in answer["items"]:
            output.say(f"{one['name']} {told}")
    return 0


@schedules.command
def ticks(
    name: str,
    /,
    *,
    outcome: Annotated[tuple[_Outcome, ...], Parameter(consume_multiple=True, negative=())] = (),
    limit: int = 25,
    options: Options = DEFAULT,
) -> int:
    """Show how the times of a schedule ended, newest first: ran, late, or skipped and why.

    For example:

        kvern schedules ticks nightly
        kvern schedules ticks nightly --outcome late skipped --limit 100
        kvern schedules ticks nightly --json

    Args:
        name: Its name or id.
        outcome: Only those that ended so; `queued` are those that still wait.
        limit: How many at most.
    """
    if limit < 1:
        raise Complaint(f"--limit takes a whole number from 1, given {limit}", exit_code=2)
    client = connection.connect(options)
    path = f"{policies.PATH}/{_find(client, name).id}/ticks"
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"outcome": ",".join(outcome)} if outcome else {}
    while len(found) < limit:
        page = client.get(path, {**query, "limit": min(limit - len(found), 1000)}).json()
        found += page["items"]
        if not page.get("nextCursor"):
            break
        query["cursor"] = page["nextCursor"]
    if options.json:
        output.as_json(found)
    elif not found:
        output.note(f"No time of {name} has passed yet, or none that ended so")
    else:
        output.table(
            ["DUE", "OUTCOME", "LATE", "CALL", "REASON"],
            [
                (
                    output.moment(one["dueTime"]),
                    one["outcome"],
                    output.duration(one["firedTime"] - one["dueTime"] if "firedTime" in one else None),
                    one.get("callId", "-"),
                    one.get("reason"),
                )
                for one in found
            ],
        )
    return 0


def _find(client: CogniteClient, name: str) -> FunctionSchedule:
    named = client.functions.schedules.list(name=name, limit=None)
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(str(one.id) for one in named)
        raise Complaint(f"{len(named)} schedules are called {name!r}; say which by its id: {ids}")
    found = client.functions.schedules.retrieve(id=int(name)) if lookup.is_id(name) else None
    if found is None:
        raise Complaint(f"no schedule has the name or the id {name!r}; `kvern schedules` lists them")
    return found
