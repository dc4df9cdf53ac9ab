"""What a deploy can fail with. The service shows `message` and `trace` as the function's `error` (contract 11.1)."""

from __future__ import annotations

TRACE_LIMIT = 2000
"""Characters of build output that the contract keeps (contract 11.1)."""


class BuildError(Exception):
    """A bundle could not be made into a revision, and whoever deployed it can do something about it.

    Args:
        message: one line for people: what was wrong, what was expected, what was given.
        trace: the build's output; only its tail of at most 2000 characters is kept. May be empty.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.trace = tail(trace)


class BundleError(BuildError):
    """The bundle is not a zip that can be unpacked safely."""


class EntryPointError(BuildError):
    """The bundle holds no `handle` where it should be, or one that cannot be called as the contract calls it."""


class RequirementsError(BuildError):
    """The `requirements.txt` says something that is not understood or not allowed."""


class SettingsError(BuildError):
    """A setting of the operator's for installing packages cannot be read or understood, or an index refuses it."""


class InstallError(BuildError):
    """The requirements could not be resolved, built or installed."""


def tail(text: str, limit: int = TRACE_LIMIT) -> str:
    """The end of `text` in at most `limit` characters, from the beginning of a line where one begins there."""
    text = text.strip("\n")
    if len(text) <= limit:
        return text
    cut = text[-limit:]
    if text[-limit - 1] == "\n":
        return cut
    _, newline, rest = cut.partition("\n")
    return rest if newline and rest else cut
