"""`kvern calls`: those that were made, how they ended and what they used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from kvern.cli import connection, lookup, output
from kvern.cli.build_log import NOT_SERVED
from kvern.cli.complaint import Complaint
from kvern.cli.options import DEFAULT, Options

if TYPE_CHECKING:
    from kvern.client import CogniteClient

calls = App(name="calls")

_PAGE = 1000
_FIGURES = ("queueSeconds", "runSeconds", "cpuSeconds", "peakMemory", "worker")


@calls.default
def list_calls(
    name: str,
    /,
    *,
    status: Literal["Running", "Completed", "Failed", "Timeout"] | None = None,
    schedule: int | None = None,
    limit: int = 25,
    options: Options = DEFAULT,
) -> int:
    """List the calls of a function, the newest first, and why each ended.

    For example:

        kvern calls trend
        kvern calls trend --status Failed --limit 100
        kvern calls trend --json

    Args:
        name: External id of the function, else its name, else its id.
        status: Only calls with this status.
        schedule: Only calls that the schedule with this id made.
        limit: How many at most.
    """
    client = connection.connect(options)
    function = lookup.function(client, name)
    wanted = {"status": status, "scheduleId": schedule}
    body: dict[str, Any] = {"filter": {key: value for key, value in wanted.items() if value is not None}}
    found: list[dict[str, Any]] = []
    while len(found) < limit:
        body["limit"] = min(_PAGE, limit - len(found))
        page = client.post(f"/functions/{function.id}/calls/list", body).json()
        found += page["items"]
        body["cursor"] = page.get("nextCursor")
        if not body["cursor"]:
            break
    if options.json:
        output.as_json(found)
    elif not found:
        output.note(f"There are no such calls of {lookup.called(function)}.")
    else:
        tabulate(found)
    return 0


def tabulate(found: list[dict[str, Any]]) -> None:
    """Calls as the API gives them, a line each."""
    output.table(
        ["ID", "STATUS", "VERDICT", "STARTED", "TOOK", "SCHEDULE", "ERROR"],
        [
            (
                one["id"],
                one["status"],
                one.get("outcome", {}).get("verdict", "-"),
                output.moment(one["startTime"]),
                output.duration(one["endTime"] - one["startTime"] if "endTime" in one else None),
                one.get("scheduleId", "-"),
                error_of(one),
            )
            for one in found
        ],
    )


def error_of(one: dict[str, Any]) -> str:
    """What went wrong, in a line; empty when nothing did."""
    error = one.get("error") or ""
    return str(error.get("message", "")) if isinstance(error, dict) else str(error)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]


@calls.command
def show(
    id: Annotated[int, Parameter(name="ID")],  # noqa: A002
    /,
    *,
    options: Options = DEFAULT,
) -> int:
    """Show one call: why it ended, how long it waited and ran, what it used; and its attempts.

    For example:

        kvern calls show 4711
        kvern calls show 4711 --json

    Args:
        id: Id of the call.
    """
    client = connection.connect(options)
    path = path_of(client, id)
    one = client.get(path).json()
    attempts = _attempts(client, path)
    if options.json:
        output.as_json({**one, "attempts": attempts})
        return 0
    figures = one.pop("outcome", {})
    error = one.pop("error", None)
    for key, value in one.items():
        output.field(key, output.moment(value) if key.endswith("Time") else value)
    for key, value in figures.items():
        output.field(key, _shown(key, value))
    if isinstance(error, dict):
        output.say(f"error: {error.get('message', '')}\n{error.get('trace', '')}".rstrip())  # pyright: ignore[reportUnknownMemberType]
    elif error:
        output.say(f"error: {error}")
    if len(attempts) > 1 or "nextAttemptTime" in one:
        output.say("")
        _tabulate_attempts(attempts)
    return 0


def _attempts(client: CogniteClient, path: str) -> list[dict[str, Any]]:
    """The attempts of a call; none where the service does not tell."""
    from kvern.client.exceptions import CogniteAPIError

    try:
        return list(client.get(f"{path}/attempts").json()["items"])
    except CogniteAPIError as error:
        if error.code not in NOT_SERVED:
            raise
        return []


def _tabulate_attempts(attempts: list[dict[str, Any]]) -> None:
    rows: list[tuple[object, ...]] = []
    for one in attempts:
        figures = one.get("outcome", {})
        used = (_shown(key, figures[key]) if key in figures else "-" for key in _FIGURES)
        started, took = one["startTime"], one["endTime"] - one["startTime"] if "endTime" in one else None
        verdict = figures.get("verdict", "-")
        rows.append((one["attempt"], verdict, output.moment(started), output.duration(took), *used, error_of(one)))
    output.table(["ATTEMPT", "VERDICT", "STARTED", "TOOK", "QUEUE", "RUN", "CPU", "MEMORY", "WORKER", "ERROR"], rows)


@calls.command
def cancel(ids: Annotated[tuple[int, ...], Parameter(name="ID")], /, *, options: Options = DEFAULT) -> int:
    """Stop calls that wait or run, with everything that they started.

    For example:

        kvern calls cancel 4711
        kvern calls cancel 4711 4712

    Args:
        ids: Ids of calls.
    """
    return _each(ids, "cancel", "{id} is cancelled", options)


@calls.command
def rerun(ids: Annotated[tuple[int, ...], Parameter(name="ID")], /, *, options: Options = DEFAULT) -> int:
    """Run past calls again, with their data, on the function's code of today.

    For example:

        kvern calls rerun 4711

    Args:
        ids: Ids of calls.
    """
    return _each(ids, "rerun", "{rerunOf} runs again as {id}", options)


def _each(ids: tuple[int, ...], what: str, told: str, options: Options) -> int:
    if not ids:
        raise Complaint(f"say which call to {what}; `kvern calls FUNCTION` lists them", exit_code=2)
    client = connection.connect(options)
    paths = [path_of(client, one) for one in ids]
    done: list[dict[str, Any]] = [client.post(f"{path}/{what}").json() for path in paths]
    if options.json:
        output.as_json(done)
    else:
        for one in done:
            output.say(told.format(**one))
    return 0


@calls.command
def dead(name: str, /, *, limit: int = 25, options: Options = DEFAULT) -> int:
    """List the calls of a function whose attempts are used up, the newest first.

    For example:

        kvern calls dead trend

    Args:
        name: External id of the function, else its name, else its id.
        limit: How many at most.
    """
    client = connection.connect(options)
    function = lookup.function(client, name)
    found = client.get(f"/functions/{function.id}/calls/dead", {"limit": limit}).json()["items"]
    if options.json:
        output.as_json(found)
    elif not found:
        output.note(f"There are no such calls of {lookup.called(function)}.")
    else:
        tabulate(found)
    return 0


@calls.command
def redrive(ids: Annotated[tuple[int, ...], Parameter(name="ID")], /, *, options: Options = DEFAULT) -> int:
    """Run calls again whose attempts are used up; they leave the list of such calls.

    For example:

        kvern calls redrive 4711 4712

    Args:
        ids: Ids of calls.
    """
    if not ids:
        raise Complaint("say which call to redrive; `kvern calls dead FUNCTION` lists them", exit_code=2)
    client = connection.connect(options)
    by_function: dict[str, list[dict[str, int]]] = {}
    for one in ids:
        by_function.setdefault(path_of(client, one).rpartition("/")[0], []).append({"id": one})
    done: list[dict[str, Any]] = []
    for path, items in by_function.items():
        done += client.post(f"{path}/redrive", {"items": items}).json()["items"]
    if options.json:
        output.as_json(done)
    else:
        for one in done:
            output.say(f"{one['rerunOf']} runs again as {one['id']}")
    return 0


def _shown(key: str, value: Any) -> Any:
    if key == "peakMemory":
        return f"{value / 1e6:.0f} MB"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g} s" if key.endswith("Seconds") else value


def path_of(client: CogniteClient, call_id: int) -> str:
    """The path of the call with this id, whichever function it belongs to."""
    found = lookup.call(client, call_id)
    if found is None:
        raise Complaint(f"no call has the id {call_id}; `kvern calls FUNCTION` lists those of a function")
    return f"/functions/{found.function_id}/calls/{found.id}"
