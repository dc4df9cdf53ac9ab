"""Where the settings of a service come from: flags, then `KVERN_*` variables, then `kvern.toml`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cyclopts import App, Parameter
from cyclopts.config import Env, Toml

FILE = "kvern.toml"


class _Flags(Toml):
    """The keys of the file that are flags as well; `projects` has tables of its own."""

    def _load_config(self, path: Path) -> dict[str, Any]:
        return {key: value for key, value in super()._load_config(path).items() if key != "projects"}


class _SomeFlags(Toml):
    """Those keys of the file that a verb has use for."""

    only: frozenset[str] = frozenset()

    def _load_config(self, path: Path) -> dict[str, Any]:
        return {key: value for key, value in super()._load_config(path).items() if key in self.only}


def check_secrets(database: str | None, arguments: list[str]) -> None:
    """Raises `ValueError` when a password stands on the command line, where every user of the machine can read it."""
    if database is None or not any(database in argument for argument in arguments):
        return
    parts = urlsplit(database)
    if ":" in parts.netloc.rpartition("@")[0] or "password" in parse_qs(parts.query):
        raise ValueError(
            "Expected --database without a password, because everybody on this machine sees the command line: "
            "put the address into KVERN_DATABASE or kvern.toml, or the password into PGPASSWORD or a passfile"
        )


def with_settings(name: str, verb: Callable[..., Any], only: frozenset[str] | None = None) -> App:
    """A verb whose parameters are settings, read from all three places.

    A key of `kvern.toml` (in the current folder) that is no setting is an error, so that a typing mistake is noticed.

    Args:
        only: the keys of the file that this verb takes, when it is not for all settings; it leaves the others alone.
    """
    flags = _Flags(FILE, use_commands_as_keys=False)
    if only is not None:
        flags = _SomeFlags(FILE, use_commands_as_keys=False)
        flags.only = only
    app = App(
        name=name,
        help_format="markdown",
        default_parameter=Parameter(negative=(), show_default=True),
        config=[Env("KVERN_", command=False), flags],
    )
    app.default(verb)
    return app
