"""Starts the zygote: `python -I __main__.py FD [ADDRESS PORT]...`, where FD is a SOCK_SEQPACKET socket to the server.

It listens at each address for the server, which cannot do that inside of a box.
"""

import importlib.util
import os
import sys


def start() -> None:
    """Load this folder as the package `_kvern_runner` and run its zygote until the server goes."""
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
    zygote = importlib.import_module("_kvern_runner.zygote")
    zygote.serve(int(sys.argv[1]), list(zip(sys.argv[2::2], map(int, sys.argv[3::2]), strict=True)))


if __name__ == "__main__":  # a child made by multiprocessing's "spawn" imports this file again
    start()
