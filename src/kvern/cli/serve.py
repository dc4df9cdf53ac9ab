"""`kvern serve`: the whole service in one process, on embedded defaults."""

from __future__ import annotations

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kvern.cli.settings import FILE, check_secrets, with_settings
from kvern.settings import Settings

_DEFAULTS = Settings()


def _serve(*, settings: Annotated[Settings, Parameter(name="*")] = _DEFAULTS) -> int:
    """Run the service until it is told to stop (Ctrl-C or SIGTERM).

    Settings come from flags, then from `KVERN_*` variables (`KVERN_DATA_DIR`), then from `kvern.toml` in the current
    folder (`data-dir = "…"`). The file can also name further projects, and whom each of them trusts, in tables such as
    `[projects.plant]`.

    For example:

        kvern serve

        kvern serve --host 0.0.0.0 --port 9000 --data-dir /var/lib/kvern --project plant-7
    """
    check_secrets(settings.database, sys.argv)
    # Looking for cycles among modules as they come is a seventh of the start; the server turns it on again.
    gc.disable()
    # A sandbox is chosen by starting boxes in it, which wait mostly; the server is imported meanwhile.
    from kvern.sandbox.detect import choose

    with ThreadPoolExecutor(1, thread_name_prefix="kvern-sandbox") as beside:
        chosen = beside.submit(choose, settings.sandbox)
        from kvern.server.run import run

        return run(settings, Path(FILE), chosen.result)


serve = with_settings("serve", _serve)
