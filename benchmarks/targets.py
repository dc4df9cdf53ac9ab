"""The figures that Kvern wants to have, each a ratio to a baseline of the same run or an absolute one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One line of the table at the end.

    Args:
        part: the benchmark that measures it.
        unit: of what is measured and of the baseline.
        limit: of the ratio; of the measured figure itself when `absolute`.
        at_most: whether less is better.
    """

    part: str
    name: str
    unit: str
    limit: float
    at_most: bool = True
    absolute: bool = False

    def wanted(self) -> str:
        limit = f"{self.limit:g}" if self.limit >= 0.1 else f"1/{1 / self.limit:g}"
        return f"{'<=' if self.at_most else '>='} {limit}" + (f" {self.unit}" if self.absolute else "x")


TARGETS = {
    "help": Target("startup", "kvern --help, over python -c pass: p50", "ms", 150, absolute=True),
    "serve": Target("startup", "kvern serve until it answers, existing folder: p50", "ms", 1000, absolute=True),
    "sdk-1": Target("warm", "as the official SDK, concurrency 1: calls/s to floor", "/s", 0.5, at_most=False),
    "sdk-16": Target("warm", "as the official SDK, concurrency 16: calls/s to floor", "/s", 0.4, at_most=False),
    "warm-1": Target("warm", "no nonce, concurrency 1: p50 to floor", "ms", 1.3),
    "warm-16": Target("warm", "no nonce, concurrency 16: calls/s to floor", "/s", 0.5, at_most=False),
    "functions-framework": Target("warm", "concurrency 16: calls/s to functions-framework", "/s", 1, at_most=False),
    "celery": Target("warm", "concurrency 16: calls/s to Celery + Redis", "/s", 4, at_most=False),
    "cold-sdk": Target("cold", "first call, cognite-sdk: p50 to its import", "ms", 1 / 40),
    "cold-sdk-p99": Target("cold", "first call, cognite-sdk: p99 to its import", "ms", 1 / 20),
    "deploy-lock": Target("deploy", "deploy, known lock, without the handler's check: p50", "ms", 300, absolute=True),
    "deploy-code": Target("deploy", "deploy, code only, to Ready: p50", "ms", 150, absolute=True),
    "list": Target("history", "list page, a million calls: p50", "ms", 5, absolute=True),
    "neighbour": Target("neighbour", "warm p99 beside a flooding neighbour, to that alone", "ms", 2),
    "hostile": Target("hostile", "warm p99 beside 200 hostile connections, to that alone", "ms", 10),
    "hostile-memory": Target("hostile", "server memory after a minute of them", "MB", 200, absolute=True),
    "schedules": Target("schedules", "1,000 schedules at once: call start - due time, p99", "ms", 20, absolute=True),
    "memory": Target("many", "server memory, 500 functions at rest", "MB", 150, absolute=True),
}
