"""The debug log: every request and answer on stderr, with secrets hidden."""

from __future__ import annotations

import logging

logger = logging.getLogger("kvern.client")
_HANDLER = "kvern-client-debug"


def set_debugging(wanted: bool) -> None:
    """Turns the log on or off."""
    present = [handler for handler in logger.handlers if handler.get_name() == _HANDLER]
    if wanted and not present:
        handler = logging.StreamHandler()
        handler.set_name(_HANDLER)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(threadName)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    elif not wanted and present:
        for handler in present:
            logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


def is_debugging() -> bool:
    """Whether the log is on."""
    return any(handler.get_name() == _HANDLER for handler in logger.handlers)
