"""A cookie jar that stays empty: for HTTP clients that ask on behalf of several principals."""

from __future__ import annotations

from http.cookiejar import CookieJar, DefaultCookiePolicy


def no_cookies() -> CookieJar:
    """A jar that takes no cookie from an answer, so that none is sent with somebody else's request."""
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=()))
