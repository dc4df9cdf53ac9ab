"""`kvern lock`."""

from __future__ import annotations

from kvern.cli import connection, lookup, output
from kvern.cli.options import DEFAULT, Options


def lock(name: str, /, *, options: Options = DEFAULT) -> int:
    """Print what a function was built with: each package at its version, with the hashes of its files.

    It has the form of a `requirements.txt`, so that the same can be installed anywhere.

    For example:

        kvern lock trend
        kvern lock trend > requirements.lock
        kvern lock trend --json

    Args:
        name: External id, else name, else id.
    """
    client = connection.connect(options)
    function = lookup.function(client, name)
    found = client.get(f"/functions/{function.id}/lock").json()
    if options.json:
        output.as_json(found)
    else:
        output.say(f"# {lookup.called(function)}, {found['runtimeVersion']}")
        output.say(found["lock"].rstrip())
    return 0
