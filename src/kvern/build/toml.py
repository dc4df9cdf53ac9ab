"""TOML files that users sent, read within bounds on time, memory and depth."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from kvern.build import toml_program
from kvern.build.errors import RequirementsError

_TIMEOUT = 20.0
_AT_LINE = re.compile(r"at line (\d+)")
Table = Mapping[str, object]


def read_toml(text: str, name: str, first: int = 1) -> Table:
    """The tables of a TOML text. Blocks for some 50 ms: call it in a thread.

    Args:
        text: the text.
        name: its file, for messages.
        first: the line of the file in which the text begins.

    Raises:
        RequirementsError: it is no TOML, or takes too long to be read.
    """
    command = [sys.executable, "-I", "-S", str(Path(toml_program.__file__))]
    try:
        done = subprocess.run(
            command, input=text.encode(), capture_output=True, timeout=_TIMEOUT, check=False, env={"PATH": ""}
        )
        answer: object = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError, RecursionError):
        raise RequirementsError(f"{name} takes too long to be read as TOML, or is nested too deeply.") from None
    told = cast("dict[str, object]", answer)
    if "fault" in told:
        fault = _AT_LINE.sub(lambda found: f"at line {int(found[1]) + first - 1}", str(told["fault"]))
        raise RequirementsError(f"{name} cannot be read as TOML: {fault}.")
    return cast("Table", told["data"])


def table(of: Table, *names: str) -> Table:
    """The table below `names`; an empty one when there is none."""
    found: object = of
    for name in names:
        found = cast("Table", found).get(name) if isinstance(found, dict) else None
    return cast("Table", found) if isinstance(found, dict) else {}
