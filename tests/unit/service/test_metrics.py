"""The page about metrics lists them all, and they are of few series."""

from __future__ import annotations

import re
from pathlib import Path

from kvern.engine import Outcome, Verdict
from kvern.service.metrics import Metrics

PAGE = Path(__file__).parents[3] / "docs" / "observability.md"
ROW = re.compile(r"^\| `(kvern_\w+)` \| (\w+) \| ([^|]*) \| ([^|]+) \|$", re.MULTILINE)


def test_the_page_lists_every_metric_with_its_type_and_labels() -> None:
    documented = {
        name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels, _ in ROW.findall(PAGE.read_text())
    }
    metrics = Metrics()
    made: dict[str, tuple[str, list[str]]] = {}
    for value in vars(metrics).values():
        kind = type(value).__name__.lower()
        if kind in ("counter", "gauge", "histogram"):
            name = value._name + ("_total" if kind == "counter" else "")
            made[name] = (kind, list(value._labelnames))
    made["kvern_info"] = ("gauge", ["version"])
    assert made == documented


def test_a_cold_call_and_one_that_never_began() -> None:
    metrics = Metrics()
    metrics.call_ended("plant", "Completed", Outcome(Verdict.RETURNED, b"1", cold=True, worker="w/1", run_seconds=0.2))
    metrics.call_ended("plant", "Failed", Outcome(Verdict.CANCELLED, queue_seconds=3))
    value = metrics.registry.get_sample_value
    assert value("kvern_calls_cold_total", {"project": "plant"}) == 1
    assert value("kvern_call_queue_seconds_count", {"project": "plant"}) == 2
    assert value("kvern_call_run_seconds_count", {"project": "plant"}) == 1
    assert value("kvern_call_run_seconds_sum", {"project": "plant"}) == 0.2


def test_a_method_that_nobody_knows_makes_no_series_of_its_own() -> None:
    metrics = Metrics()
    for method in ("BREW", "WHEN", "GET"):
        metrics.answered(method, "none", 405, 0.001)
    value = metrics.registry.get_sample_value
    assert value("kvern_http_requests_total", {"method": "other", "route": "none", "status": "405"}) == 2
    assert value("kvern_http_requests_total", {"method": "GET", "route": "none", "status": "405"}) == 1
