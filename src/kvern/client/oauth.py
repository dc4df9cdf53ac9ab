"""The token endpoint of an identity provider (RFC 6749, section 5; contract 1.2)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, cast

from kvern.client.exceptions import CogniteAuthError, CogniteOAuthError

_TRIES = 3
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class TokenAnswer:
    """A token.

    Args:
        access_token: What proves who is asking.
        expires_at: When it stops to, in seconds since the epoch.
        refresh_token: What a new one can be had with.
    """

    access_token: str
    expires_at: float
    refresh_token: str | None = None


def send_form(url: str, form: dict[str, str], **options: Any) -> tuple[int, dict[str, Any]]:
    """Status and JSON object that the provider answers; tried again where it is unreachable or failing.

    Raises:
        CogniteAuthError: when it stays unreachable or keeps failing.
        CogniteOAuthError: when its answer is no JSON object.
    """
    import httpx2

    from kvern.client.transport import http_options

    options = {"timeout": _TIMEOUT_SECONDS, "headers": {"Accept": "application/json"}, **options}
    for remaining in reversed(range(_TRIES)):
        try:
            response = httpx2.post(url, data=form, **options, **http_options())
        except httpx2.TransportError as error:
            if not remaining:
                raise CogniteAuthError(f"The identity provider at {url} cannot be reached: {error}") from error
        else:
            if response.status_code < 500 or not remaining:
                return response.status_code, _object(url, response.status_code, response.text)
        time.sleep(0.2 * (_TRIES - remaining))
    raise AssertionError("the last try returns or raises")


def _object(url: str, status: int, text: str) -> dict[str, Any]:
    import json

    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        shown = " ".join(text.split())[:1000]
        raise CogniteOAuthError(
            f"No JSON from the token endpoint {url!r} (HTTP {status})", f"Is that its URL? It answered: {shown}"
        )
    return cast("dict[str, Any]", answer)


def token_answer(answer: dict[str, Any], now: float) -> TokenAnswer:
    """The token in a provider's answer. Raises `CogniteOAuthError` when there is none."""
    if "error" in answer or "access_token" not in answer:
        description = " ".join(str(answer.get("error_description") or "").split())
        raise CogniteOAuthError(str(answer.get("error", "no access_token in the answer")), description)
    lifetime = float(answer.get("expires_in") or 3600)
    return TokenAnswer(answer["access_token"], now + lifetime, answer.get("refresh_token"))


def request_token(url: str, form: dict[str, str], **options: Any) -> TokenAnswer:
    """A token for what the form says. Raises `CogniteOAuthError` or `CogniteAuthError`."""
    now = time.time()
    status, answer = send_form(url, form, **options)
    if status >= 400 and "error" not in answer:
        raise CogniteOAuthError(f"HTTP {status} from the token endpoint {url!r}", str(answer)[:1000])
    return token_answer(answer, now)
