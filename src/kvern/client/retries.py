"""Which requests may be sent again, how often, and after which pauses (contract 1.8)."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kvern.client.config import global_config

if TYPE_CHECKING:
    from kvern.client.response import CogniteHTTPResponse

_SLOWEST_RETRY_AFTER_SECONDS = 60.0

# What these POSTs do would be done twice by a repetition (contract 1.8).
_CREATES = re.compile(r"/(functions|functions/[^/]+/call|functions/schedules|files|datasets)(/delete)?")
_READS = re.compile(r"/.*/?(list|byids|search|aggregate|downloadlink|uploadlink|multiuploadlink|status|revoke|inspect)")
_REPEATABLE = re.compile(r"/(sessions|groups|files/initmultipartupload|files/completemultipartupload)")


def back_off(factor: float = 0.5, longest: float = 60.0, shortest: float = 0.0) -> Iterator[float]:
    """Seconds to wait before each next try: random, below a bound that doubles until it is `longest`."""
    bound = factor
    while True:
        yield random.uniform(shortest, max(shortest, min(bound, longest)))  # noqa: S311
        bound = min(bound * 2, longest)


def is_repeatable(method: str, url: str) -> bool:
    """Whether sending a request twice does no harm, judged by its method and path; False where that is not known."""
    if method != "POST":
        return method in ("GET", "PUT", "HEAD")
    path = re.sub(r"^https?://[^/]*(?:.*/projects/[^/?]+(?=[/?]|$))?", "", url).partition("?")[0]
    if _CREATES.fullmatch(path):
        return False
    return bool(_READS.fullmatch(path) or _REPEATABLE.fullmatch(path))


class Tries:
    """Counts the tries of one request and says whether, and after how long, there is another."""

    def __init__(self, repeatable: bool) -> None:
        self.repeatable = repeatable
        self.total: int = 0
        self.why: str = ""
        self._unconnected = 0
        self._delays = back_off(0.5, float(global_config.max_retry_backoff), 0.1)

    def _next(self) -> float | None:
        self.total += 1
        return next(self._delays) if self.total <= global_config.max_retries else None

    def after_status(self, response: CogniteHTTPResponse) -> float | None:
        """Seconds to the next try after an answer of 4xx or 5xx; None to give up."""
        code = response.status_code
        self.why = f"HTTP {code}"
        invited = response.headers.get("cdf-is-auto-retryable", "").lower() == "true"
        # A 429 means that nothing happened, whatever the request (contract 1.8).
        if not invited and not (code in global_config.status_forcelist and (self.repeatable or code == 429)):
            return None
        delay = self._next()
        return None if delay is None else max(delay, _retry_after(response))

    def after_failure(self, error: Exception) -> float | None:
        """Seconds to the next try when there was no answer; None to give up."""
        import httpx2

        self.why = f"{type(error).__name__}: {error}"
        if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)):
            self._unconnected += 1
            return self._next() if self._unconnected <= global_config.max_retries_connect else None
        if not self.repeatable:
            return None
        if isinstance(error, httpx2.TimeoutException):
            return self._next()
        self._unconnected += 1
        return self._next() if self._unconnected <= global_config.max_retries_connect else None


def _retry_after(response: CogniteHTTPResponse) -> float:
    try:
        return min(float(response.headers.get("retry-after", "0")), _SLOWEST_RETRY_AFTER_SECONDS)
    except ValueError:
        return 0.0
