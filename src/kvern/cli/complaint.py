"""What a user is told when something is wrong: one line that says what it is, and what to do next."""

from __future__ import annotations

import sys

SERVER_PACKAGES = frozenset(
    {"alembic", "cronsim", "cryptography", "httptools", "jwt", "sqlalchemy", "starlette", "uv"} | {"uvicorn", "uvloop"}
)


class Complaint(Exception):
    """Something that the user can put right.

    Args:
        text: what is wrong, and what to do next.
        exit_code: 1 when something failed, 2 when the command line is wrong.
    """

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def about(error: Exception) -> Complaint | None:
    """The complaint that fits an error; None for one that is a fault of Kvern and deserves its traceback."""
    if isinstance(error, Complaint):
        return error
    if isinstance(error, ModuleNotFoundError) or isinstance(error.__cause__, ModuleNotFoundError):
        missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
        return _about_missing(missing.name or "") if isinstance(missing, ModuleNotFoundError) else None
    if isinstance(error, OSError):
        return Complaint(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    if isinstance(error, UnicodeEncodeError):  # a word of the command line, or a value in a file, with half a character
        return Complaint(
            "something that was given is not text: it has bytes that are not UTF-8, or half a character", 2
        )
    return _about_answer(error)


def _about_missing(module: str) -> Complaint | None:
    if module.partition(".")[0] in SERVER_PACKAGES:
        return Complaint(f"this needs the service, and {module} is not installed: pip install 'kvern[server]'")
    return None


def _about_answer(error: Exception) -> Complaint | None:
    if "kvern.client.exceptions" not in sys.modules:  # then none of them can have been raised
        return None
    from kvern.client import exceptions

    if isinstance(error, exceptions.CogniteConnectionError):
        return Complaint(f"{_sentence(error)} Is the service running? On this machine: kvern serve")
    if isinstance(error, exceptions.CogniteReadTimeout):
        return Complaint("the service did not answer in time; see its log, or try again")
    if isinstance(error, exceptions.CogniteProjectAccessError):
        return Complaint(f"the service refuses the token for project {error.project}; log in again: kvern login")
    if isinstance(error, exceptions.CogniteOAuthError):
        return Complaint(f"{_sentence(error)} Check the client id and secret, or log in again: kvern login")
    if isinstance(error, exceptions.CogniteAuthError):
        return Complaint(f"{_sentence(error)} Is the service running? On this machine: kvern serve")
    if isinstance(error, exceptions.CogniteAPIError):
        return Complaint(f"{error.message} (HTTP {error.code}, request {error.x_request_id})")
    if isinstance(error, exceptions.CogniteException):
        return Complaint(str(error).partition("\n")[0])
    return None


def _sentence(error: Exception) -> str:
    """The first line of an error, closed by a full stop."""
    return str(error).partition("\n")[0].rstrip(". ") + "."
