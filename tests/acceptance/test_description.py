"""The API's description of itself: whole, true, and open to whoever asks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.api import Api
from tests.acceptance.fuzz import fuzz
from tests.acceptance.server import Server


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server of its own: generated requests leave much behind, and may delete anything."""
    folder = tmp_path_factory.mktemp("described")
    with Server(folder) as server, Api(server.environment()) as api:
        yield api


@pytest.mark.timeout(1000)
def test_every_operation_answers_what_its_description_says(own: Api, tmp_path: Path) -> None:
    assert fuzz(own, tmp_path, examples=3, seconds=450) > 1000


def test_it_names_every_operation_that_the_sdk_needs(own: Api) -> None:
    document = own.http.get(f"{own.root}/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    base = "/api/v1/projects/{project}"
    for path, verb in [
        ("/functions", "post"), ("/functions/{function_id}/call", "post"), ("/functions/schedules/list", "post"),
        ("/sessions", "post"), ("/files", "post"),
    ]:  # fmt: skip
        operation = document["paths"][base + path][verb]
        assert operation["summary"]
        assert operation["security"]
        assert {"400", "401", "403", "404", "409", "413", "415", "429", "500"} <= set(operation["responses"])


def test_the_page_to_browse_needs_no_other_server(own: Api) -> None:
    page = own.http.get(f"{own.root}/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "/functions/{function_id}/call" in page.text
    assert not re.search(r"(?:src|href)=.?https?://", page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]
