"""Starts the zygote: `python -I __main__.py FD [ADDRESS PORT]...`, where FD is a SOCK_SEQPACKET socket to the server.

It listens at each address for the server, which cannot do that inside of a box.
"""

import importlib.util
import os
import sys
from types import ModuleType


def load(name: str) -> ModuleType:
    """Load this folder as the package `_kvern_runner`, and of it the module `name`."""
    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib would double the imports
    spec = importlib.util.spec_from_file_location(
        "_kvern_runner",
        os.path.join(folder, "__init__.py"),  # noqa: PTH118
        submodule_search_locations=[folder],
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["_kvern_runner"] = package
    spec.loader.exec_module(package)
    return importlib.import_module(f"_kvern_runner.{name}")


if __name__ == "__main__":
    zygote = load("zygote")
    zygote.serve(int(sys.argv[1]), list(zip(sys.argv[2::2], map(int, sys.argv[3::2]), strict=True)))
elif "_kvern_runner" not in sys.modules and os.environ.get("KVERN_CODE"):
    # A child that a handler made by multiprocessing's "spawn" or "forkserver" runs this file as its main module: it
    # then finds the bundle's modules as the worker does.
    load("source").follow(os.environ["KVERN_CODE"], {})
