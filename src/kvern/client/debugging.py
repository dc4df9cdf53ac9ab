"""The debug log: every request and answer on stderr, with secrets hidden."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

_NAME = "kvern.client"
_HANDLER = "kvern-client-debug"


def debug_logger() -> logging.Logger | None:
    """The logger, if somebody wants to see debug messages."""
    # Without the module nobody can have asked for them.
    logging = sys.modules.get("logging")
    if logging is None:
        return None
    logger: logging.Logger = logging.getLogger(_NAME)
    return logger if logger.isEnabledFor(logging.DEBUG) else None


def set_debugging(wanted: bool) -> None:
    """Turns the log on or off."""
    import logging

    logger = logging.getLogger(_NAME)
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
    import logging

    return any(handler.get_name() == _HANDLER for handler in logging.getLogger(_NAME).handlers)
