"""`kvern login`: keep where a service is and who one is there, so that no command needs to be told again."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kvern.cli import connection, inputs, output
from kvern.cli.complaint import Complaint
from kvern.cli.options import DEFAULT, Options

if TYPE_CHECKING:
    from kvern.client.profiles import Profile

TOKEN_PATH = "/oauth2/token"  # noqa: S105
"""Where a Kvern service issues tokens."""


def login(
    url: str | None = None,
    /,
    *,
    project: str = "kvern",
    client_id: str | None = None,
    secret_file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    token_url: str | None = None,
    scope: tuple[str, ...] = (),
    default: Annotated[bool, Parameter(negative="--no-default")] = True,
    options: Options = DEFAULT,
) -> int:
    """Keep the address and the credentials of a service as a profile, in a file that only you can read.

    They are tried first, and kept only if they work. Without an address, the service on this machine is taken whose
    data is in the folder of `--data-dir`. The client secret is read from a file, from the variable
    `KVERN_CLIENT_SECRET`, or asked for; it is never on the command line.

    For example:

        kvern login
        kvern login --data-dir /var/lib/kvern --profile plant
        kvern login https://functions.plant.example --project plant --client-id me
        kvern login https://functions.plant.example --client-id me --secret-file - < secret

    Args:
        url: Address of the service.
        project: Name of the project.
        client_id: Id of the client.
        secret_file: File with the client's secret; - for standard input.
        token_url: Where tokens are issued. Default: by the service itself.
        scope: Scope to ask for; again for more.
        default: Use this profile when none is named.
    """
    from kvern.client import CogniteClient
    from kvern.client.profiles import save_profile

    if url is None:
        profile = connection.profile_of(connection.access_file(options.data_dir or connection.default_data_dir()))
    else:
        profile = _profile(url.rstrip("/"), project, client_id, secret_file, token_url, scope)

    inspection = CogniteClient(profile.config("kvern")).iam.token.inspect()
    projects = [one.url_name for one in inspection.projects]
    if profile.project not in projects:
        raise Complaint(f"these credentials give no access to project {profile.project}, but to: {', '.join(projects)}")
    name = options.profile or "default"
    path = save_profile(name, profile, make_default=default)
    if options.json:
        output.as_json({"profile": name, "baseUrl": profile.base_url, "project": profile.project, "file": str(path)})
    else:
        output.say(f"Logged in at {profile.base_url}, project {profile.project}; kept as profile {name!r} in {path}")
    return 0


def _profile(
    url: str,
    project: str,
    client_id: str | None,
    secret_file: Path | None,
    token_url: str | None,
    scope: tuple[str, ...],
) -> Profile:
    from kvern.client.profiles import Profile

    if not url.startswith(("http://", "https://")):
        raise Complaint(f"an address begins with http:// or https://, and {url} does not", exit_code=2)
    if client_id is None:
        if not sys.stdin.isatty():
            raise Complaint("say who you are: --client-id ID", exit_code=2)
        client_id = input("Client id: ").strip()
    credentials = {
        "token_url": token_url or f"{url}{TOKEN_PATH}",
        "client_id": client_id,
        "client_secret": _secret(secret_file),
        "scopes": list(scope) or None,
    }
    return Profile(url, project, {"client_credentials": credentials})


def _secret(file: Path | None) -> str:
    if file is not None:
        found = inputs.read(file, f"--secret-file {file}").strip()
    elif os.environ.get("KVERN_CLIENT_SECRET"):
        found = os.environ["KVERN_CLIENT_SECRET"]
    elif sys.stdin.isatty():
        found = getpass.getpass("Client secret: ")
    else:
        found = ""
    if not found:
        raise Complaint("give the client's secret: --secret-file FILE, or KVERN_CLIENT_SECRET", exit_code=2)
    return found
