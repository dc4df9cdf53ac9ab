"""The command line, as typed into a shell."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.server import KVERN, Server

HANDLER = """
import time

def handle(data, secrets):
    print("milling", data.get("grain"))
    time.sleep(data.get("seconds", 0))
    if data.get("stones"):
        raise ValueError("stones in the grain")
    return {"flour": data.get("grain", 0) * 2, "secrets": sorted(secrets)}
"""


class Shell:
    """Runs `kvern` in a folder, as a user who has set nothing but where the data is."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        self._env = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "KVERN_DATA_DIR": str(data), "LANG": "C.UTF-8",
        }  # fmt: skip

    def __call__(self, *words: str, code: int = 0, given: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [KVERN, *words], cwd=self.folder, env=self._env, input=given, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback (most recent call last)" not in done.stderr or "ValueError: stones" in done.stderr
        return done


@pytest.fixture(scope="module")
def kvern(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("user")
    (folder / "mill").mkdir()
    (folder / "mill" / "handler.py").write_text(HANDLER)
    shell = Shell(folder, server.data)
    shell("deploy", "mill", "--secret", "key=value", "--env", "A=1")
    yield shell
    shell("delete", "mill")


def test_deploy_says_what_happens_and_what_to_do_next(kvern: Shell) -> None:
    done = kvern("deploy", "mill", "--secret", "key=value")
    # A quick deployment is seen in one of its states only.
    assert any(f"mill: {status}" in done.stderr + done.stdout for status in ("Queued", "Deploying"))
    assert "is Ready on Python 3." in done.stderr + done.stdout
    assert "kvern call mill" in done.stderr + done.stdout
    assert len([f for f in json.loads(kvern("functions", "--json").stdout) if f["name"] == "mill"]) == 1


def test_call_prints_the_response_and_the_log_apart(kvern: Shell) -> None:
    done = kvern("call", "mill", "--data", '{"grain": 21}')
    assert json.loads(done.stdout) == {"flour": 42, "secrets": ["key"]}
    assert done.stderr == "milling 21\n"


def test_data_comes_from_a_file_or_from_stdin(kvern: Shell) -> None:
    (kvern.folder / "grain.json").write_text('{"grain": 5}')
    assert json.loads(kvern("call", "mill", "--data", "@grain.json").stdout)["flour"] == 10
    assert json.loads(kvern("call", "mill", "--data", "-", given='{"grain": 6}').stdout)["flour"] == 12


def test_a_call_that_fails_exits_with_1_and_shows_why(kvern: Shell) -> None:
    done = kvern("call", "mill", "--data", '{"stones": true}', code=1)
    assert done.stdout == ""
    assert "ValueError: stones in the grain" in done.stderr
    shown = json.loads(kvern("call", "mill", "--data", '{"stones": true}', "--json", code=1).stdout)
    assert [shown["status"], shown["error"]["message"]] == ["Failed", "ValueError: stones in the grain"]


def test_a_call_in_the_background_is_followed_by_its_id(kvern: Shell) -> None:
    started = json.loads(kvern("call", "mill", "--data", '{"grain": 1, "seconds": 0.6}', "--no-wait", "--json").stdout)
    assert started["status"] == "Running"
    done = kvern("logs", str(started["id"]), "--follow")
    assert done.stdout == "milling 1\n"
    listed = json.loads(kvern("calls", "mill", "--json").stdout)
    assert listed[0]["id"] == started["id"]


def test_schedules_are_made_listed_and_deleted(kvern: Shell) -> None:
    kvern("schedules", "create", "nightly", "0 3 * * *", "--function", "mill", "--data", '{"grain": 1}')
    assert "At 03:00" in kvern("schedules").stdout
    assert json.loads(kvern("schedules", "--json").stdout)[0]["cronExpression"] == "0 3 * * *"
    kvern("schedules", "delete", "nightly")
    assert json.loads(kvern("schedules", "--json").stdout) == []


def test_a_build_that_fails_shows_its_error_and_keeps_what_was_there(kvern: Shell) -> None:
    broken = kvern.folder / "broken"
    broken.mkdir()
    (broken / "handler.py").write_text("def handle(data) return 1")
    done = kvern("deploy", "broken", "--name", "mill", code=1)
    assert "line 1" in done.stderr
    assert json.loads(kvern("call", "mill", "--data", '{"grain": 1}').stdout)["flour"] == 2


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("call", "nobody"), 1, "kvern functions"),
        (("call", "mill", "--data", "{"), 2, "JSON"),
        (("deploy", "nowhere"), 2, "nowhere"),
        (("schedules", "create", "x", "* * *", "--function", "mill"), 1, "five"),
        (("mill",), 2, "mill"),
        (("functions", "--data-dir", "/nonexistent/kvern"), 1, "kvern serve"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(kvern: Shell, words: tuple[str, ...], code: int, told: str) -> None:
    done = subprocess.run(
        [KVERN, *words], cwd=kvern.folder, env=kvern._env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_tells_what_the_machine_can_do(kvern: Shell) -> None:
    findings = {f["what"]: f for f in json.loads(kvern("doctor", "--json").stdout)}
    assert {"sandbox", "limits", "interpreters", "builds", "database", "data folder"} <= set(findings)
    assert all(f["state"] in ("good", "warning") for f in findings.values())


def test_every_verb_has_help_with_an_example(kvern: Shell) -> None:
    verbs = ["serve", "env", "doctor", "deploy", "functions", "delete", "call", "calls", "logs", "schedules"]
    for verb in verbs:
        assert f"kvern {verb}" in kvern(verb, "--help").stdout.split("Usage", 1)[1], verb


def test_completion_for_the_shell(kvern: Shell) -> None:
    assert "kvern" in kvern("completion", "bash").stdout
