"""`kvern serve`: the whole service in one process, on embedded defaults."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from cyclopts import Parameter

from kvern.cli.settings import FILE, with_settings
from kvern.settings import Settings

_DEFAULTS = Settings()


def _check_secrets(settings: Settings, arguments: list[str]) -> None:
    """Raises `ValueError` when a password stands on the command line, where every user of the machine can read it."""
    if settings.database is None or not any(settings.database in argument for argument in arguments):
        return
    parts = urlsplit(settings.database)
    if ":" in parts.netloc.rpartition("@")[0] or "password" in parse_qs(parts.query):
        raise ValueError(
            "Expected --database without a password, because everybody on this machine sees the command line: "
            "put the address into KVERN_DATABASE or kvern.toml, or the password into PGPASSWORD or a passfile"
        )


def _serve(*, settings: Annotated[Settings, Parameter(name="*")] = _DEFAULTS) -> int:
    """Run the service until it is told to stop (Ctrl-C or SIGTERM).

    Settings come from flags, then from `KVERN_*` variables (`KVERN_DATA_DIR`), then from `kvern.toml` in the current
    folder (`data-dir = "…"`). The file can also name further projects, and whom each of them trusts, in tables such as
    `[projects.plant]`.

    For example:

        kvern serve

        kvern serve --host 0.0.0.0 --port 9000 --data-dir /var/lib/kvern --project plant-7
    """
    from kvern.server.run import run

    _check_secrets(settings, sys.argv)
    return run(settings, Path(FILE))


serve = with_settings("serve", _serve)
