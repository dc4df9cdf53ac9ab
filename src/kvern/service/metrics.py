"""What the service counts and measures of itself, for Prometheus (`/metrics`, docs/observability.md).

Labels are few: a project (those of `kvern.toml`), a verdict, a route of the table. Functions, calls and clients are no
labels, because nothing bounds how many there are. Counting takes a dictionary look-up and an addition; what can be
looked up when somebody asks is looked up then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Metric,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

import kvern
from kvern.engine import Outcome, Verdict
from kvern.service.tallies import Count, Counter, Histogram, Spread

CONTENT_TYPE = CONTENT_TYPE_LATEST

disable_created_metrics()  # when each series began: as many lines again, and nobody asks

_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_BUILD = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0)
_GROUP = (1, 2, 5, 10, 20, 50, 100, 200, 500)

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class Metrics:
    """The counters of one service. `journal` is called by the writer's thread, everything else on the event loop."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._readings: list[Callable[[], None]] = []
        self._ends: dict[tuple[str, str, Verdict], Count] = {}
        self._of_project: dict[str, tuple[Count, Count, Spread, Spread]] = {}
        self._routes: dict[tuple[str, str, int], tuple[Count, Spread]] = {}
        ProcessCollector(registry=self.registry)
        info = self._gauge("info", "The running version; the value is 1.", "version")
        info.labels(kvern.__version__).set(1)

        self._accepted = self._counter("calls_accepted", "Calls that were accepted.", "project")
        self._ended = self._counter(
            "calls_ended", "Calls that ended, by status and by why.", "project", "status", "verdict"
        )
        self._cold = self._counter("calls_cold", "Calls for which a worker had to be started.", "project")
        self._queue = self._histogram(
            "call_queue_seconds", "From a call's way to the engine until a worker had it.", _LONG, "project"
        )
        self._run = self._histogram("call_run_seconds", "From then until its end.", _LONG, "project")
        self.calls = self._gauge("calls", "Calls that were accepted and have not ended.", "project")

        self.waiting = self._gauge("calls_waiting", "Calls that wait for a worker.")
        self.hosts = self._gauge("hosts", "Hosts: revisions that have processes.")
        self.workers = self._gauge("workers", "Workers, by what they do: `running`, `idle`, `starting`.", "state")

        self._builds = self._counter(
            "builds_ended", "Deployments that ended: `Ready`, `Failed`, `Withdrawn`.", "status"
        )
        self._build_seconds = self._histogram("build_seconds", "How long deployments took.", _BUILD)
        self.builds = self._gauge("builds", "Deployments that wait or run.")
        self.functions = self._gauge("functions", "Functions, by status.", "project", "status")
        self.sessions = self._gauge("sessions", "Sessions that are alive.", "project")

        self._group = self._histogram("journal_group_entries", "Writes that one commit took.", _GROUP)
        self._commit = self._histogram("journal_commit_seconds", "From a group's begin to its commit.", _SHORT)
        self._faults = self._counter("journal_faults", "Writes that the database refused.")

        self._ticks = self._counter("ticks", "Due times of schedules, by how they ended.", "project", "outcome")
        self._lag = self._histogram("schedule_lag_seconds", "From a due time until its call was made.", _SHORT)
        self.schedules = self._gauge("schedules", "Schedules.", "project")

        self._requests = self._counter(
            "http_requests", "Answers, by route of the table; `none` is no route.", "method", "route", "status"
        )
        self._request_seconds = self._histogram(
            "http_request_seconds", "From a request until its answer was sent.", _LONG, "method", "route"
        )
        self._answering = self._gauge("http_requests_running", "Requests that are being answered.")
        self.answering = 0
        """Requests that are being answered."""

        self._forgotten = self._counter("retention_forgotten", "Rows that retention deleted.", "what")
        self._forget_seconds = self._histogram("retention_step_seconds", "How long one of its steps took.", _SHORT)
        self.stored = self._gauge("database_bytes", "What the database's tables take, as retention saw it last.")
        self.disk_free = self._gauge("disk_free_bytes", "Free on the disk of the data folder.")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"kvern_{name}", text, labels, self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"kvern_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Iterable[float], *labels: str) -> Histogram:
        return Histogram(f"kvern_{name}", text, tuple(buckets), labels, self.registry)

    def _project(self, project: str) -> tuple[Count, Count, Spread, Spread]:
        found = self._of_project.get(project)
        if found is None:
            every = (self._accepted, self._cold, self._queue, self._run)
            found = self._of_project[project] = (
                every[0].labels(project),
                every[1].labels(project),
                every[2].labels(project),
                every[3].labels(project),
            )
        return found

    def call_accepted(self, project: str) -> None:
        self._project(project)[0].inc()

    def call_ended(self, project: str, status: str, outcome: Outcome) -> None:
        """A call's one end."""
        key = (project, status, outcome.verdict)
        ended = self._ends.get(key)
        if ended is None:
            ended = self._ends[key] = self._ended.labels(project, status, outcome.verdict.value)
        ended.inc()
        _, cold, queue, run = self._project(project)
        queue.observe(outcome.queue_seconds)
        if outcome.worker:
            run.observe(outcome.run_seconds)
            if outcome.cold:
                cold.inc()

    def build_ended(self, status: str, seconds: float) -> None:
        self._builds.labels(status).inc()
        self._build_seconds.labels().observe(seconds)

    def tick(self, project: str, outcome: str, lag: float | None = None) -> None:
        """A due time that ended; `lag` in seconds when it made a call."""
        self._ticks.labels(project, outcome).inc()
        if lag is not None:
            self._lag.labels().observe(max(lag, 0.0))

    def journal(self, entries: int, seconds: float, faults: int) -> None:
        """A group that the journal is done with."""
        self._group.labels().observe(entries)
        self._commit.labels().observe(seconds)
        if faults:
            self._faults.labels().inc(faults)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """An answer that was sent."""
        if method not in _METHODS:
            method = "other"
        key = (method, route, status)
        found = self._routes.get(key)
        if found is None:
            found = self._routes[key] = (
                self._requests.labels(method, route, str(status)),
                self._request_seconds.labels(method, route),
            )
        found[0].inc()
        found[1].observe(seconds)

    def forgotten(self, what: str, rows: int, seconds: float) -> None:
        """A step of retention."""
        self._forgotten.labels(what).inc(rows)
        self._forget_seconds.labels().observe(seconds)

    def reading(self, read: Callable[[], None]) -> None:
        """Have `read` set gauges whenever somebody asks."""
        self._readings.append(read)

    def read(self) -> None:
        """Bring the gauges up to date."""
        self._answering.set(self.answering)
        for read in self._readings:
            read()

    def text(self, projects: Collection[str] | None = None) -> bytes:
        """All that is counted, as Prometheus reads it; may be called on any thread, after `read`.

        Args:
            projects: whose figures are shown beside those of the whole service; None for all.
        """
        shown: Any = self.registry if projects is None else _Shown(self.registry, frozenset(projects))
        return generate_latest(shown)


class _Shown:
    """A registry without the figures of other projects."""

    def __init__(self, registry: CollectorRegistry, projects: frozenset[str]) -> None:
        self._registry = registry
        self._projects = projects

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            shown = Metric(family.name, family.documentation, family.type, family.unit)
            shown.samples = [
                sample
                for sample in family.samples
                if "project" not in sample.labels or sample.labels["project"] in self._projects
            ]
            yield shown
