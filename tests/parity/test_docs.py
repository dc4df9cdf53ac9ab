"""The examples of docs/sdk run, in order, against a live server, and print what the pages say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.server import Server

PAGES = Path(__file__).resolve().parents[2] / "docs" / "sdk"
BLOCK = re.compile(r"^```(\w+)( skip)?\n(.*?)^```\n", re.MULTILINE | re.DOTALL)

RUN = """
import contextlib, io, json, linecache, sys
scope = {"__name__": "__main__"}
printed = []
for number, code in enumerate(json.load(sys.stdin)):
    name = f"<example {number}>"
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, name, "exec"), scope)
    printed.append(out.getvalue())
print(json.dumps(printed))
"""


def examples(page: Path) -> Iterator[tuple[str, str]]:
    """Each example that runs, and what the page says that it prints."""
    blocks = [(match[1], bool(match[2]), match[3]) for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]
    for number, (language, skipped, code) in enumerate(blocks):
        if language == "python" and not skipped:
            following = blocks[number + 1] if number + 1 < len(blocks) else ("", False, "")
            yield code, following[2] if following[0] == "text" else ""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("kvern")) as running:
        yield running


WITH_EXAMPLES = sorted(page.name for page in PAGES.glob("*.md") if any(examples(page)))


def test_all_groups_have_a_page_with_examples() -> None:
    groups = {
        "calls.md",
        "clients.md",
        "files.md",
        "functions.md",
        "migration.md",
        "objects.md",
        "schedules.md",
        "sessions.md",
    }
    assert set(WITH_EXAMPLES) == groups


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_print_what_the_page_says(server: Server, name: str, tmp_path: Path) -> None:
    codes, said = zip(*examples(PAGES / name), strict=True)
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", RUN],
        input=json.dumps(codes),
        capture_output=True,
        text=True,
        timeout=110,
        env={**server.environment(), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == list(said)


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
