"""Environment variables of a function that act on an interpreter when it starts: a worker's runs when it gets them."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from urllib.parse import urlsplit

PROXIES = ("http_proxy", "https_proxy", "all_proxy")

ENCLOSED = "http_proxy" in os.environ
"""Whether the box was started with a proxy, which is then the one way out of it."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def search(code: str) -> list[str]:
    """The folders that `PYTHONPATH` names, relative ones below the bundle's folder `code`."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [os.path.join(code, name) for name in named if name]  # noqa: PTH118


def warn() -> None:
    """Set the filters that `PYTHONWARNINGS` names, as Python does: the last one goes first."""
    options = [option for option in os.environ.get("PYTHONWARNINGS", "").split(",") if option]
    if options:
        sys.warnoptions.extend(options)
        process: Callable[[list[str]], None] = getattr(warnings, "_processoptions")  # noqa: B009 - it tells of wrong ones
        process(options)


def pass_proxies(url: str) -> None:
    """Have what asks `url` go by no proxy, when variables name one; what else goes by none stays so."""
    host = urlsplit(url).hostname
    if not host or not any(os.environ.get(name) or os.environ.get(name.upper()) for name in PROXIES):
        return
    if ENCLOSED and host not in LOOPBACK:
        return
    # Programs differ in which of the two they look at first, so both have to say the same.
    said = [os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    hosts = [one.strip() for text in said for one in text.split(",") if one.strip()]
    if "*" not in hosts:
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys([*hosts, host]))
