"""The options that every verb has which talks to a service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

_EVERYWHERE = Group("Everywhere", sort_key=1)


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """How to reach the service, and how to print."""

    json: Annotated[bool, Parameter(group=_EVERYWHERE)] = False
    """Print JSON and nothing else on stdout, with the names of the API."""

    data_dir: Annotated[Path | None, Parameter(group=_EVERYWHERE)] = None
    """Reach the service on this machine whose data is in this folder."""

    profile: Annotated[str | None, Parameter(group=_EVERYWHERE)] = None
    """Use this profile that `kvern login` wrote."""


DEFAULT = Options()
