"""Every verb of the command, and what its errors look like."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Group, Parameter

from kvern import __version__
from kvern.cli import complaint, output

app = App(
    name="kvern",
    help="A function service that you run yourself. It speaks the Cognite Functions API.",
    version=__version__,
    version_flags=("--version", "-V"),
    help_format="markdown",
    default_parameter=Parameter(negative=(), show_default=False),
)

# A verb's module is imported when the verb is used, so that none waits for what only another one needs.
VERBS = {
    "The service": {
        "serve": "kvern.cli.serve:serve",
        "env": "kvern.cli.env:env",
        "doctor": "kvern.cli.doctor:doctor",
        "clients": "kvern.cli.clients:clients",
        "secrets": "kvern.cli.secrets:secrets",
        "backup": "kvern.cli.backup:backup",
        "restore": "kvern.cli.backup:restore",
    },
    "Functions": {
        "deploy": "kvern.cli.deploy:deploy",
        "functions": "kvern.cli.functions:functions",
        "lock": "kvern.cli.lock:lock",
        "delete": "kvern.cli.functions:delete",
    },
    "Calls": {
        "call": "kvern.cli.call:call",
        "calls": "kvern.cli.calls:calls",
        "logs": "kvern.cli.logs:logs",
        "schedules": "kvern.cli.schedules:schedules",
    },
    "This command": {
        "login": "kvern.cli.login:login",
        "completion": "kvern.cli.completion:completion",
    },
}
_groups = {title: Group(title, sort_key=place) for place, title in enumerate(VERBS)}
for _title, _verbs in VERBS.items():
    for _name, _path in _verbs.items():
        app.command(_path, name=_name, group=_groups[_title])
app.command("kvern.cli.completion:install", name="--install-completion", group=_groups["This command"])
for _flag in ("--help", "--version"):
    app[_flag].group = _groups["This command"]


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: the words after `kvern`.

    Returns:
        The exit code, see `kvern.cli.main`.
    """
    if not arguments or arguments[0] in ("--help", "-h"):
        # Only a verb that was imported shows what it does.
        for verbs in VERBS.values():
            for verb in verbs:
                app[verb]
        app["--install-completion"]
    try:
        result = app(arguments, result_action="return_value", exit_on_error=False, print_error=False)
    except CycloptsError as error:
        verb = next((word for word in arguments if word in app and not word.startswith("-")), "")
        output.note(f"kvern: {error}")
        output.note(f"See: {' '.join(['kvern', verb]).strip()} --help")
        return 2
    except BrokenPipeError:
        # Whoever read the output has left, as `head` does; nothing more can be said to it, not at exit either.
        sys.stdout = None  # type: ignore[assignment]
        return 1
    except Exception as error:
        told = complaint.about(error)
        if told is None:
            raise
        output.note(f"kvern: {told}")
        return told.exit_code
    return result if isinstance(result, int) else 0
