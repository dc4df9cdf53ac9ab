"""Where the settings of a service come from: flags, then `KVERN_*` variables, then `kvern.toml`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyclopts import App, Parameter
from cyclopts.config import Env, Toml

FILE = "kvern.toml"


def with_settings(name: str, verb: Callable[..., Any]) -> App:
    """A verb whose parameters are settings, read from all three places.

    A key of `kvern.toml` (in the current folder) that is no setting is an error, so that a typing mistake is noticed.
    """
    app = App(
        name=name,
        help_format="markdown",
        default_parameter=Parameter(negative_iterable=(), show_default=True),
        config=[Env("KVERN_", command=False), Toml(FILE, use_commands_as_keys=False)],
    )
    app.default(verb)
    return app
