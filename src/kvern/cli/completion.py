"""`kvern completion`."""

from __future__ import annotations

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print the completion script of a shell. `kvern --install-completion` puts it in its place instead.

    For example:

        eval "$(kvern completion bash)"
        kvern completion fish > ~/.config/fish/completions/kvern.fish

    Args:
        shell: The shell.
    """
    from kvern.cli.app import app

    print(app.generate_completion(shell=shell))
    return 0
