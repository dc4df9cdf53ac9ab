"""`kvern doctor`: what this machine can and cannot do for a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kvern.cli import output

_MARK = {"good": "ok  ", "warning": "WARN", "bad": "FAIL"}


def doctor(
    *,
    data_dir: Annotated[Path, Parameter(env_var="KVERN_DATA_DIR")] = Path(".kvern"),
    database: Annotated[str | None, Parameter(env_var="KVERN_DATABASE", show_default=False)] = None,
    json: bool = False,
) -> int:
    """Tell what this machine can and cannot do: interpreters, sandbox, limits, storage.

    Exit code 1 when a service could not run here.

    For example:

        kvern doctor

        kvern doctor --json

    Args:
        data_dir: the folder that the service would use.
        database: the PostgreSQL that it would use, such as `postgresql://user@host/name`.
        json: print JSON.
    """
    from kvern.server.examination import examine

    findings = examine(data_dir, database)
    if json:
        output.as_json([{"what": f.what, "state": f.state, "text": f.text} for f in findings])
    else:
        for finding in findings:
            output.say(f"{_MARK[finding.state]}  {finding.what:<13}{finding.text}")
    return 1 if any(finding.state == "bad" for finding in findings) else 0
