"""Every verb of the command, and what its errors look like."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Group, Parameter

from kvern import __version__
from kvern.cli import complaint, output
from kvern.cli.verbs import ABOUT, VERBS, is_overview, overview

app = App(
    name="kvern",
    help=ABOUT,
    version=__version__,
    version_flags=("--version", "-V"),
    help_format="markdown",
    default_parameter=Parameter(negative=(), show_default=False),
)

_groups = {title: Group(title, sort_key=place) for place, title in enumerate(VERBS)}
for _title, _verbs in VERBS.items():
    for _name, _verb in _verbs.items():
        app.command(_verb.path, name=_name, group=_groups[_title])
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
    if is_overview(arguments):
        output.say(overview())
        return 0
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
