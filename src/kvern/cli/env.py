"""`kvern env`: what the official clients need to know, as lines for a shell."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kvern.cli import output
from kvern.cli.connection import access_file


def env(
    *,
    data_dir: Annotated[Path, Parameter(env_var="KVERN_DATA_DIR")] = Path(".kvern"),
    json: bool = False,
) -> None:
    """Print `export` lines with which `cognite-sdk` and the Toolkit find the service of a data folder.

    They hold a secret: do not put them where others read.

    For example:

        eval "$(kvern env)"

        eval "$(kvern env --data-dir /var/lib/kvern)"

    Args:
        data_dir: the folder that `kvern serve` was given.
        json: print a JSON object instead.
    """
    values = variables(data_dir)
    if json:
        output.as_json(values)
    else:
        for name, value in values.items():
            print(f"export {name}={shlex.quote(value)}")


def variables(data_dir: Path) -> dict[str, str]:
    """The names that the Toolkit and cognite-sdk read, from what the built-in issuer made at the first start."""
    content = access_file(data_dir)
    # cognite-sdk 7 asks by way of oauthlib, which refuses a token URL without TLS, on this machine too.
    without_tls = {"OAUTHLIB_INSECURE_TRANSPORT": "1"} if content["tokenUrl"].startswith("http://") else {}
    return {
        "CDF_URL": content["baseUrl"],
        "CDF_CLUSTER": "kvern",
        "CDF_PROJECT": content["project"],
        "LOGIN_FLOW": "client_credentials",
        "IDP_TOKEN_URL": content["tokenUrl"],
        "IDP_CLIENT_ID": content["clientId"],
        "IDP_CLIENT_SECRET": content["clientSecret"],
        "IDP_SCOPES": content["scopes"],
        **without_tls,
    }
