"""Schemathesis against a running server, with all its checks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.acceptance.api import Api

# The contract answers 400 where a body's identifiers name nothing, and where two fields exclude each other.
_CONFIG = """
[parameters]
project = "{project}"
{more}
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 401, 403, 404, 409, 413, 415, 429]
"""


def fuzz(api: Api, folder: Path, examples: int, seconds: float) -> int:
    """Try generated requests on every operation; how many they were. Fails with the report when a check does.

    Two runs: one over everything, and one over what concerns a function, with the id of one that is there. The rotation
    of clients' secrets is left out: it would end the token that the requests are made with.

    Args:
        folder: an empty one, for configuration and report.
        examples: generated requests for each operation, beside those for edge cases of its schema.
        seconds: after which a run is stopped and counts as failed.
    """
    words = ["--checks", "all", "--phases", "examples,coverage,fuzzing", "--exclude-path-regex", "clients/rotate"]
    everything = _run(api, folder, "", words, examples, seconds)
    function_id = api.ready("def handle(data): return data")
    # With a parameter put in its place, what was generated as wrong is right: so without the check for refusals.
    words = [
        "--checks", "all", "--exclude-checks", "negative_data_rejection", "--phases", "fuzzing",
        "--include-path-regex", "function_id",
    ]  # fmt: skip
    of_one = _run(api, folder, f'"path.function_id" = {function_id}', words, examples, seconds)
    assert api.get(f"/functions/{function_id}").json()["lastCalled"]
    return everything + of_one


def _run(api: Api, folder: Path, more: str, words: list[str], examples: int, seconds: float) -> int:
    config = folder / "schemathesis.toml"
    config.write_text(_CONFIG.format(project=api.env["CDF_PROJECT"], more=more))
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config), "run", f"{api.root}/openapi.json",
        "--header", f"Authorization: Bearer {api.token}", *words, "--no-shrink",
        "--max-examples", str(examples), "--request-timeout", "60", "--no-color", "--suppress-health-check", "all",
    ]  # fmt: skip
    report = folder / "report.txt"  # a file, so that whoever waits can watch it
    with report.open("w") as written:
        done = subprocess.run(
            command, cwd=folder, stdout=written, stderr=subprocess.STDOUT, timeout=seconds, check=False
        )
    told = report.read_text()
    assert done.returncode == 0, told[-20_000:]
    counted = re.search(r"(\d+) generated", told)
    assert counted is not None, told
    return int(counted[1])
