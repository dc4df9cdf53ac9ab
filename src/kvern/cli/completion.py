"""`kvern completion` and `kvern --install-completion`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from kvern.cli.complaint import Complaint

Shell: TypeAlias = Literal["bash", "zsh", "fish"]


def completion(shell: Shell, /) -> int:
    """Print the completion script of a shell.

    For example:

        eval "$(kvern completion bash)"
        kvern completion fish > ~/.config/fish/completions/kvern.fish

    Args:
        shell: The shell.
    """
    from kvern.cli.app import app

    print(app.generate_completion(shell=shell))
    return 0


def install(*, shell: Shell | None = None, output: Path | None = None) -> int:
    """Put the completion script where the shell finds it.

    For example:

        kvern --install-completion
        kvern --install-completion --shell zsh

    Args:
        shell: The shell. Default: the one that is running.
        output: The file to write. Default: where the shell looks.
    """
    from cyclopts.completion import ShellDetectionError

    from kvern.cli.app import app

    try:
        path = app.install_completion(shell=shell, output=output)
    except ShellDetectionError:
        raise Complaint("cannot tell which shell this is; say it: kvern --install-completion --shell bash") from None
    print(f"Completion is in {path}; open a new shell to use it.")
    return 0
