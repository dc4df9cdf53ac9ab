"""`kvern clients`: who may use a service, and for what."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from kvern.cli import connection, output
from kvern.cli.complaint import Complaint
from kvern.cli.options import DEFAULT, Options

if TYPE_CHECKING:
    from kvern.client import CogniteClient

clients = App(name="clients")

_PATH = "/kvern/clients"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@clients.command(name="list")
@clients.default
def list_clients(*, project: str | None = None, options: Options = DEFAULT) -> int:
    """List the clients of a project: programs that get tokens from the service itself.

    For example:

        kvern clients
        kvern clients list --project lab --json

    Args:
        project: Name of the project. Default: the one of the credentials.
    """
    from kvern.wire.capabilities import words

    client = connection.connect(options)
    params = None if project is None else {"project": project}
    found: list[dict[str, Any]] = client.get(_PATH, params=params).json()["items"]
    if options.json:
        output.as_json(found)
        return 0
    output.table(
        ["CLIENT ID", "NAME", "PROJECT", "CREATED", "OLD SECRET UNTIL", "CAPABILITIES"],
        [
            (
                one["clientId"],
                one["name"],
                one["project"],
                output.moment(one["createdTime"]),
                output.moment(one.get("oldSecretUntil")),
                " ".join(words(one["capabilities"])),
            )
            for one in found
        ],
    )
    return 0


@clients.command
def add(
    name: str,
    capabilities: Annotated[tuple[str, ...], Parameter(name="CAPABILITY", negative=())],
    /,
    *,
    project: str | None = None,
    options: Options = DEFAULT,
) -> int:
    """Make a client. Its secret is shown this once; the service keeps only a hash of it.

    For example:

        kvern clients add dashboard functions:read
        kvern clients add scheduler functions:read,run sessions:create
        kvern clients add deployer functions:* files:* sessions:create --project lab
        kvern clients add admin all

    Args:
        name: What people call it.
        capabilities: What it may do, such as functions:read,run; functions:* for every action, all for everything; or
            the JSON of a capability, which can have a scope.
        project: Name of the project. Default: the one of the credentials.
    """
    from kvern.wire.capabilities import read

    try:
        wanted = read(capabilities)
    except ValueError as error:
        raise Complaint(str(error), exit_code=2) from None
    body = {"name": name, "capabilities": wanted, **({} if project is None else {"project": project})}
    client = connection.connect(options)
    return _told(client, client.post(_PATH, json=body).json(), options)


@clients.command
def rotate(client_id: str, /, *, overlap: str = "0", project: str | None = None, options: Options = DEFAULT) -> int:
    """Give a client a new secret, which is shown this once. Its sessions and schedules go on.

    For example:

        kvern clients rotate kvern-1f0c9d
        kvern clients rotate kvern-1f0c9d --overlap 24h

    Args:
        client_id: Which client.
        overlap: For how long the old secret stays good: seconds, or such as 30m, 24h, 7d.
        project: Name of its project. Default: the one of the credentials.
    """
    parts = re.fullmatch(r"(\d{1,9})([smhd]?)", overlap)
    if parts is None:
        raise Complaint(f"--overlap is seconds, or such as 30m, 24h, 7d; given {overlap}", exit_code=2)
    seconds = int(parts[1]) * _UNITS[parts[2] or "s"]
    body = {"clientId": client_id, "overlapSeconds": seconds, **({} if project is None else {"project": project})}
    client = connection.connect(options)
    return _told(client, client.post(f"{_PATH}/rotate", json=body).json(), options)


@clients.command
def remove(
    client_ids: Annotated[tuple[str, ...], Parameter(name="CLIENT_ID", negative=())],
    /,
    *,
    project: str | None = None,
    options: Options = DEFAULT,
) -> int:
    """Remove clients. Their tokens and sessions end at once, and with these the schedules that run as them.

    For example:

        kvern clients remove kvern-1f0c9d

    Args:
        client_ids: Which clients.
        project: Name of their project. Default: the one of the credentials.
    """
    body = {"items": list(client_ids), **({} if project is None else {"project": project})}
    client = connection.connect(options)
    client.post(f"{_PATH}/delete", json=body)
    if options.json:
        output.as_json([{"clientId": client_id} for client_id in client_ids])
    else:
        for client_id in client_ids:
            output.say(f"{client_id} is removed")
    return 0


def _told(client: CogniteClient, made: dict[str, Any], options: Options) -> int:
    if options.json:
        output.as_json(made)
        return 0
    output.say(f"client id:     {made['clientId']}")
    output.say(f"client secret: {made['clientSecret']}")
    output.note("The secret is not shown again. To use it:")
    url = client.config.base_url
    output.note(f"  kvern login {url} --project {made['project']} --client-id {made['clientId']}")
    if made.get("oldSecretUntil"):
        output.note(f"The old secret is good until {output.moment(made['oldSecretUntil'])}.")
    return 0
