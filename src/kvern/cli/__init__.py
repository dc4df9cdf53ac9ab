"""The `kvern` command."""

from __future__ import annotations

import sys

from kvern import __version__


def main() -> None:
    """Run the command line of `sys.argv` and leave with its exit code.

    0: done. 1: it failed, or the function did. 2: the command line is wrong. 130: stopped by Ctrl-C.
    """
    # The version is asked for by scripts and shells' prompts; it does not wait for the command line to be built.
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(__version__)
        return
    from kvern.cli.verbs import is_overview, overview

    if is_overview(sys.argv[1:]):
        try:
            print(overview(), flush=True)
        except BrokenPipeError:  # see `kvern.cli.app.run`
            sys.stdout = None  # type: ignore[assignment]
            sys.exit(1)
        return
    from kvern.cli.app import run

    sys.exit(run(sys.argv[1:]))
