"""Packages that make the client nicer and that it does not need."""

from __future__ import annotations

import importlib
from typing import Any

from kvern.client.exceptions import CogniteImportError


def optional_import(module: str, package: str | None = None) -> Any:
    """The module.

    Args:
        module: Its import name.
        package: What to install to have it, if that is another name.

    Raises:
        CogniteImportError: when it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CogniteImportError(package or module) from error
