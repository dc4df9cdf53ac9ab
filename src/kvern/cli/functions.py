"""`kvern functions` and `kvern delete`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from kvern.cli import connection, lookup, output
from kvern.cli.build_log import BuildLog
from kvern.cli.complaint import Complaint
from kvern.cli.options import DEFAULT, Options

functions = App(name="functions")


@functions.default
def list_functions(*, options: Options = DEFAULT) -> int:
    """List the functions, or show one.

    For example:

        kvern functions
        kvern functions --json
        kvern functions show trend
    """
    found = connection.connect(options).functions.list(limit=None)
    if options.json:
        output.as_json(found.dump())
    elif not found:
        output.note("There are no functions. Deploy one: kvern deploy PATH")
    else:
        output.table(
            ["EXTERNAL ID", "NAME", "STATUS", "RUNTIME", "CREATED", "LAST CALLED", "ID"],
            [
                (
                    one.external_id or "-",
                    one.name,
                    one.status,
                    one.runtime_version or one.runtime or "-",
                    output.moment(one.created_time),
                    output.moment(one.last_called),
                    one.id,
                )
                for one in found
            ],
        )
    return 0


@functions.command
def show(name: str, /, *, options: Options = DEFAULT) -> int:
    """Show one function: its settings, and why it could not be built.

    For example:

        kvern functions show trend
        kvern functions show trend --json

    Args:
        name: External id, else name, else id.
    """
    function = lookup.function(connection.connect(options), name)
    fields = function.dump()
    if options.json:
        output.as_json(fields)
        return 0
    error: dict[str, str] = fields.pop("error", None) or {}
    for key, value in fields.items():
        if key in ("createdTime", "lastCalled"):
            value = output.moment(value)  # noqa: PLW2901
        if isinstance(value, dict):
            for part, content in value.items():  # pyright: ignore[reportUnknownVariableType]
                output.field(f"{key}.{part}", content)  # pyright: ignore[reportUnknownArgumentType]
        else:
            output.field(key, value)
    if error:
        output.say(f"error: {error.get('message', '')}\n{error.get('trace', '')}".rstrip())
    return 0


@functions.command
def log(name: str, /, *, follow: bool = False, options: Options = DEFAULT) -> int:
    """Print the log of a function's build.

    With `--json`, each line is a JSON object. With `--follow`, the exit code is 1 when the build failed.

    For example:

        kvern functions log trend
        kvern functions log trend --follow

    Args:
        name: External id, else name, else id.
        follow: Go on until the build has ended.
    """
    client = connection.connect(options)
    build = BuildLog(client, lookup.function(client, name).id)
    while True:
        for line in build.read(wait=follow):
            if options.json:
                output.as_json(line, indent=None)
            else:
                output.say(line["message"])
        if not build.is_served:
            raise Complaint("this service keeps no logs of builds")
        if not follow or build.has_ended:
            return 1 if follow and build.status == "Failed" else 0


def delete(
    names: Annotated[tuple[str, ...], Parameter(name="NAME")],
    /,
    *,
    options: Options = DEFAULT,
) -> int:
    """Delete functions, with their schedules, calls and logs. Calls that run are stopped.

    For example:

        kvern delete trend
        kvern delete trend outliers 4711

    Args:
        names: External ids, else names, else ids.
    """
    if not names:
        raise Complaint("say which function to delete; `kvern functions` lists them", exit_code=2)
    client = connection.connect(options)
    # All are looked up first: when one name is wrong, nothing is deleted.
    found = {one.id: one for one in [lookup.function(client, name) for name in names]}
    ids = list(found)
    for start in range(0, len(ids), 10):  # as many as one request takes (contract 3.7)
        client.functions.delete(id=ids[start : start + 10])
    if options.json:
        output.as_json([one.dump() for one in found.values()])
    else:
        for one in found.values():
            output.say(f"{lookup.called(one)} is deleted")
    return 0
