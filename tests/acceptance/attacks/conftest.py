"""One server of two projects for each module, with what attackers have: a token of each, and functions of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.acceptance.api import Api
from tests.acceptance.server import Server

SETTINGS = "[projects.lab]\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("attacked"), settings=SETTINGS) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    """The administrator."""
    with Api(server.environment()) as bare:
        yield bare


def as_client(api: Api, made: dict[str, Any]) -> Api:
    """Somebody with the credentials that were told when a client was made."""
    env = {**api.env, "IDP_CLIENT_ID": made["clientId"], "IDP_CLIENT_SECRET": made["clientSecret"]}
    return Api({**env, "CDF_PROJECT": made["project"]})


@pytest.fixture(scope="module")
def client_of(api: Api) -> Iterator[Callable[..., Api]]:
    """Makes clients: of a project, with capabilities as the contract writes them."""
    made: list[Api] = []

    def make(project: str, *capabilities: dict[str, Any]) -> Api:
        wanted = {"name": "limited", "capabilities": capabilities, "project": project}
        answer = api.post("/kvern/clients", wanted)
        assert answer.status_code == 201, answer.text
        made.append(as_client(api, answer.json()))
        return made[-1]

    yield make
    for one in made:
        one.close()


def may(name: str, *actions: str) -> dict[str, Any]:
    """A capability everywhere."""
    return {f"{name}Acl": {"actions": [*actions], "scope": {"all": {}}}}
