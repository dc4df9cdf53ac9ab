"""What README and docs/getting-started.md tell a newcomer to type works, word for word, against a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import sdk_python
from tests.acceptance.server import Server
from tests.environments import ROOT

BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def as_script(page: Path, python: Path, folder: Path) -> str:
    """All blocks that a newcomer copies, in their order, as one script; the Python ones run by `python`."""
    lines = ["set -eu"]
    for number, (language, text) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8"))):
        if language == "bash":
            # The path of a clone is where the command was installed from, not the folder of this test.
            lines.append(text.replace("$PWD/.venv/bin", str(Path(sys.executable).parent)))
        else:
            program = folder / f"block{number}.py"
            program.write_text(text)
            lines.append(f"'{python}' '{program}'")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("page", "client", "shown"),
    [
        ("README.md", "kvern", ["mean is Ready", '"mean": 3.0', "{'mean': 3.0}"]),
        (
            "docs/getting-started.md",
            "cognite",
            [
                "mean is Ready",
                '"mean": 3.0',
                "3 values from 1 to 6",
                "hourly calls mean: Every hour",
                "mean is deleted",
            ],
        ),
    ],
)
def test_a_page_does_what_it_says(server: Server, tmp_path: Path, page: str, client: str, shown: list[str]) -> None:
    python = Path(sys.executable) if client == "kvern" else sdk_python()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CDF_", "IDP_", "KVERN_"))}
    environment |= {"KVERN_DATA_DIR": str(server.data), "KVERN_CONFIG_DIR": str(tmp_path / "config")}
    script = as_script(ROOT / page, python, tmp_path)

    ran = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=110
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    for text in shown:
        assert text in ran.stdout
