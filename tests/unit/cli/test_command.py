"""The command as a whole: quick to start, clear when something is wrong."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from kvern import __version__
from kvern.cli import complaint, connection
from kvern.cli.app import VERBS
from kvern.cli.complaint import Complaint
from kvern.client import exceptions

Kvern = Callable[..., Any]


def in_a_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_version_comes_without_building_the_command_line() -> None:
    out = in_a_process(
        "import sys; sys.argv = ['kvern', '--version']\n"
        "from kvern.cli import main; main()\n"
        "print([name for name in ('cyclopts', 'rich', 'httpx2', 'msgspec') if name in sys.modules])"
    )

    assert out == f"{__version__}\n[]\n"


def test_help_shows_every_verb_and_what_it_is_for(kvern: Kvern) -> None:
    out = kvern("--help").out

    for verb in [verb for verbs in VERBS.values() for verb in verbs]:
        line = next(line for line in out.splitlines() if line.startswith(f"  {verb} "))
        assert len(line.split()) > 4, f"{verb} says nothing about itself"


@pytest.mark.parametrize("arguments", [("bogus",), ("call",), ("call", "x", "--bogus", "1"), ("deploy", "a", "b")])
def test_a_wrong_command_line_has_exit_code_2_and_names_the_help(kvern: Kvern, arguments: tuple[str, ...]) -> None:
    ran = kvern(*arguments)

    assert (ran.code, ran.out) == (2, "")
    told, hint = ran.err.splitlines()
    assert told.startswith("kvern: ")
    assert hint.startswith("See: kvern ")
    assert hint.endswith("--help")


def test_a_service_that_is_not_there_is_said_in_one_line_with_how_to_start_one(
    kvern: Kvern, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("KVERN_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("KVERN_TOKEN", "t")
    monkeypatch.setattr("kvern.client.global_config.max_retries_connect", 0)

    ran = kvern("functions")

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("\n") == 1
    assert ran.err.endswith("kvern serve\n")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (exceptions.CogniteOAuthError("invalid_client", "no"), "log in again: kvern login"),
        (exceptions.CogniteAuthError("the provider cannot be reached"), "kvern serve"),
        (exceptions.CogniteProjectAccessError("plant", "r-1", None), "token for project plant; log in again"),
        (exceptions.CogniteAPIError("Too many", 429, "r-1"), "Too many (HTTP 429, request r-1)"),
        (exceptions.CogniteReadTimeout("slow"), "did not answer in time"),
        (FileNotFoundError(2, "No such file or directory", "x.json"), "No such file or directory: x.json"),
        (ModuleNotFoundError("No module named 'starlette'", name="starlette"), "pip install 'kvern[server]'"),
    ],
)
def test_an_error_becomes_one_line_that_says_what_to_do(
    kvern: Kvern, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fail(options: object) -> None:
        raise error

    monkeypatch.setattr(connection, "connect", fail)

    ran = kvern("functions")

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("kvern: ")
    assert told in ran.err
    assert ran.err.count("\n") == 1


def test_a_fault_of_kvern_keeps_its_traceback(kvern: Kvern, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(connection, "connect", fail)

    with pytest.raises(ZeroDivisionError):
        kvern("functions")


def test_a_complaint_about_the_command_line_has_exit_code_2() -> None:
    assert complaint.about(Complaint("x", exit_code=2)).exit_code == 2


def test_completion_knows_the_verbs(kvern: Kvern) -> None:
    script = kvern("completion", "bash").out

    assert "schedules" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
