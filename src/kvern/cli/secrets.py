"""`kvern secrets`: the key under which a service keeps what is secret."""

from __future__ import annotations

from cyclopts import App

from kvern.cli import connection, output
from kvern.cli.options import DEFAULT, Options

secrets = App(name="secrets", help="Look after the key under which a service keeps what is secret.")


@secrets.command
def rotate_master(*, options: Options = DEFAULT) -> int:
    """Change the master key of a running service, and wrap the keys of all secrets with the new one.

    Nothing stops meanwhile, and nothing is lost when the service dies in between: until it is done, both keys are kept.
    A service that has its key from `KVERN_MASTER_KEY` needs to be started with the new key before the old one
    (`KVERN_MASTER_KEY=NEW,OLD`) first; the old one can be taken away afterwards.

    For example:

        kvern secrets rotate-master
    """
    client = connection.connect(options)
    done = client.post("/kvern/secrets/rotate-master").json()
    if options.json:
        output.as_json(done)
    else:
        output.say(
            f"The master key was changed; {done['functions']} functions and {done['sessions']} sessions have it now."
        )
        if done["source"] == "KVERN_MASTER_KEY":
            output.say("All keys but the first can be taken out of KVERN_MASTER_KEY.")
    return 0
