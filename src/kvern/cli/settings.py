"""Where the settings of a service come from: flags, then `KVERN_*` variables, then `kvern.toml`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cyclopts import App, Parameter
from cyclopts.config import Env, Toml

FILE = "kvern.toml"


class _Flags(Toml):
    """The keys of the file that are flags as well; `projects` has tables of its own."""

    def _load_config(self, path: Path) -> dict[str, Any]:
        return {key: value for key, value in super()._load_config(path).items() if key != "projects"}


def with_settings(name: str, verb: Callable[..., Any]) -> App:
    """A verb whose parameters are settings, read from all three places.

    A key of `kvern.toml` (in the current folder) that is no setting is an error, so that a typing mistake is noticed.
    """
    app = App(
        name=name,
        help_format="markdown",
        default_parameter=Parameter(negative=(), show_default=True),
        config=[Env("KVERN_", command=False), _Flags(FILE, use_commands_as_keys=False)],
    )
    app.default(verb)
    return app
