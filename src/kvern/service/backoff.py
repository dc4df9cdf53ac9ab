"""Back-off: whether and when a call is tried again, as its function declares it."""

from __future__ import annotations

import random

from kvern.engine import Outcome
from kvern.wire.functions import Retries


def is_retried(retries: Retries, outcome: Outcome) -> bool:
    """Whether there may be another attempt after one that ended so."""
    return outcome.verdict.value in retries.on


def delay(retries: Retries, attempt: int) -> float:
    """Seconds between the end of attempt number `attempt`, counted from 1, and the next one."""
    longest = min(retries.max_delay_seconds, retries.delay_seconds * retries.factor ** (attempt - 1))
    return longest * (1 - retries.jitter * random.random())  # noqa: S311
