"""`kvern schedules`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

from cyclopts import App, Parameter

from kvern.cli import connection, inputs, lookup, output
from kvern.cli.complaint import Complaint
from kvern.cli.options import DEFAULT, Options

if TYPE_CHECKING:
    from kvern.client import CogniteClient
    from kvern.client.data_classes.functions import FunctionSchedule

schedules = App(name="schedules")


@schedules.default
def list_schedules(*, function: str | None = None, options: Options = DEFAULT) -> int:
    """List, make and delete schedules.

    For example:

        kvern schedules
        kvern schedules --function trend --json
        kvern schedules create nightly "0 2 * * *" --function trend
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
    options: Options = DEFAULT,
) -> int:
    """Call a function at the times of a cron expression. Times are UTC.

    For example:

        kvern schedules create nightly "0 2 * * *" --function trend --data '{"file": "mauna-loa-co2"}'
        kvern schedules create often "*/5 8-16 * * mon-fri" --function quality --data @input.json

    Args:
        name: What people call it.
        cron: Five fields: minute, hour, day of the month, month, day of the week. Put it in quotes.
        function: External id of the function, else its name, else its id.
        data: Input of every call: JSON, @FILE with JSON, or - for standard input.
        description: What it is for.
    """
    given = None if data is None else cast("dict[str, object]", inputs.data(data))
    client = connection.connect(options)
    made = client.functions.schedules.create(
        name=name,
        cron_expression=cron,
        function_id=lookup.function(client, function).id,
        description=description,
        data=given,
    )
    if options.json:
        output.as_json(made.dump())
    else:
        print(f"{name} calls {function}: {made.when} (id {made.id})")
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
            print(f"{one.name} is deleted")
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
