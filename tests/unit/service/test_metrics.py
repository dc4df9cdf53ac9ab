"""The page about metrics lists them all, and they are of few series."""

from __future__ import annotations

import re
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry, generate_latest

from kvern.engine import Outcome, Verdict
from kvern.service import tallies
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
        if kind == "gauge":
            made[value._name] = (kind, list(value._labelnames))
        elif kind in ("counter", "histogram"):
            made[value.name + ("_total" if kind == "counter" else "")] = (kind, list(value.label_names))
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


def test_what_is_counted_here_is_shown_as_prometheus_own_classes_show_it() -> None:
    bounds = (0.0005, 0.1, 1, 600.0)
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counters = (
        tallies.Counter("a_count", "Text.", ("x", "y"), ours),
        prometheus_client.Counter("a_count", "Text.", ("x", "y"), registry=theirs),
    )
    tallies.Counter("bare", "Text.", (), ours)
    prometheus_client.Counter("bare", "Text.", registry=theirs)
    spreads = (
        tallies.Histogram("a_spread", "Text.", bounds, ("x",), ours),
        prometheus_client.Histogram("a_spread", "Text.", ("x",), buckets=bounds, registry=theirs),
    )
    for counter in counters:
        counter.labels("1", 'a "quoted"\nline').inc()
        counter.labels("2", "").inc(3)
    for spread in spreads:
        for value in (0.0, 0.0005, 0.00051, 0.5, 1.0, 7.25, 600.0, 1e6):
            spread.labels("1").observe(value)
    assert generate_latest(ours) == generate_latest(theirs)
    assert b"bare_total 0.0" in generate_latest(ours)
