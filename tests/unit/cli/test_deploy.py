"""Waiting for a build."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from kvern.cli import deploy, output
from kvern.client import CogniteClient
from kvern.client.data_classes.functions import Function


class FakeService:
    """A build that says one line each time that it is asked, and then is over."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self.asked = 0
        self.functions = SimpleNamespace(retrieve=self._retrieve)

    def get(self, path: str, params: dict[str, int], headers: dict[str, str] | None) -> Any:
        self.asked += 1
        over = params["after"] >= self._lines
        items = [] if over else [{"timestamp": 0, "message": f"line {params['after']}"}]
        return SimpleNamespace(json=lambda: {"items": items, "status": self._status()})

    def _status(self) -> str:
        return "Ready" if self.asked > self._lines else "Deploying"

    def _retrieve(self, id: int) -> Any:  # noqa: A002 - as the client calls it
        return SimpleNamespace(id=id, status=self._status())


def test_a_build_that_has_something_to_say_is_asked_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(deploy.time, "sleep", slept.append)
    service = FakeService(lines=20)
    with output.Progress(silent=True) as progress:
        build = deploy._Build(cast("CogniteClient", service), "trend", progress)
        function = build.wait(cast("Function", SimpleNamespace(id=1, status="Queued")))
    assert function.status == "Ready"
    assert slept == []
