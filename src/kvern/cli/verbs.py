"""The verbs of the command, and the overview of them, which waits for nothing to be imported."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from typing import NamedTuple


class Verb(NamedTuple):
    """One verb.

    Args:
        path: the function or the `App` behind it.
        summary: the first sentences of its own help.
    """

    path: str
    summary: str


ABOUT = "A function service that you run yourself. It speaks the Cognite Functions API."

# A verb's module is imported when the verb is used, so that none waits for what only another one needs.
VERBS = {
    "The service": {
        "serve": Verb("kvern.cli.serve:serve", "Run the service until it is told to stop (Ctrl-C or SIGTERM)."),
        "env": Verb(
            "kvern.cli.env:env",
            "Print `export` lines with which `cognite-sdk` and the Toolkit find the service of a data folder.",
        ),
        "doctor": Verb(
            "kvern.cli.doctor:doctor",
            "Tell what this machine can and cannot do: interpreters, sandbox, limits, storage.",
        ),
        "clients": Verb(
            "kvern.cli.clients:clients",
            "List the clients of a project: programs that get tokens from the service itself.",
        ),
        "secrets": Verb("kvern.cli.secrets:secrets", "Look after the key under which a service keeps what is secret."),
        "backup": Verb("kvern.cli.backup:backup", "Write all that a service keeps to one file, while it runs."),
        "restore": Verb(
            "kvern.cli.backup:restore", "Make a data folder of a backup; `kvern serve` starts with it then."
        ),
    },
    "Functions": {
        "deploy": Verb("kvern.cli.deploy:deploy", "Deploy a folder, a .zip or a single .py file as a function."),
        "functions": Verb("kvern.cli.functions:functions", "List the functions, or show one."),
        "lock": Verb(
            "kvern.cli.lock:lock",
            "Print what a function was built with: each package at its version, with the hashes of its files.",
        ),
        "delete": Verb(
            "kvern.cli.functions:delete",
            "Delete functions, with their schedules, calls and logs. Calls that run are stopped.",
        ),
    },
    "Calls": {
        "call": Verb(
            "kvern.cli.call:call",
            "Call a function; its log goes to stderr while it runs, its response to stdout.",
        ),
        "calls": Verb("kvern.cli.calls:calls", "List the calls of a function, the newest first, and why each ended."),
        "logs": Verb("kvern.cli.logs:logs", "Print the log of a call."),
        "schedules": Verb(
            "kvern.cli.schedules:schedules",
            "List, make, pause and delete schedules, and see how their due times ended.",
        ),
    },
    "This command": {
        "login": Verb(
            "kvern.cli.login:login",
            "Keep the address and the credentials of a service as a profile, in a file that only you can read.",
        ),
        "completion": Verb("kvern.cli.completion:completion", "Print the completion script of a shell."),
    },
}

FLAGS = {
    "--help (-h)": "Display this message and exit.",
    "--install-completion": "Put the completion script where the shell finds it.",
    "--version (-V)": "Display application version.",
}

_WIDEST = 100


def is_overview(arguments: Sequence[str]) -> bool:
    """Whether the words after `kvern` ask for all verbs."""
    return list(arguments) in ([], ["--help"], ["-h"])


def overview() -> str:
    """What `kvern --help` prints: each verb with its summary, as wide as the terminal."""
    width = min(_columns(), _WIDEST)
    lines = ["Usage: kvern COMMAND", "", *textwrap.wrap(ABOUT, max(width, 40))]
    for title, verbs in VERBS.items():
        named = {name: verb.summary.replace("`", "") for name, verb in verbs.items()}
        if title == "This command":
            named |= FLAGS
        column = max(map(len, named)) + 4
        lines += ["", f"{title}:"]
        for name, summary in named.items():
            first, *others = textwrap.wrap(summary, max(width - column, 30))
            lines.append(f"  {name:<{column - 2}}{first}")
            lines += [" " * column + line for line in others]
    return "\n".join([*lines, "", "More about one of them: kvern COMMAND --help"])


def _columns() -> int:
    """Those of the terminal, 80 where there is none; `shutil`, which knows too, loads every packer of archives."""
    try:
        return int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size(1).columns or 80
    except (OSError, ValueError):
        return 80
