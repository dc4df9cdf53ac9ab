"""Every version of the official SDK is told capabilities that it can read."""

from __future__ import annotations

import pytest

from kvern.wire.capabilities import ACTIONS, Acl, every_capability
from kvern.wire.old_sdks import is_strict, readable

ACTIONS_OF = {
    "7.0.0": {"functionsAcl": "READ WRITE", "projectsAcl": "READ LIST UPDATE"},
    "7.13.0": {"functionsAcl": "READ WRITE", "projectsAcl": "READ LIST UPDATE CREATE"},
    "7.26.0": {"functionsAcl": "READ WRITE", "projectsAcl": "READ LIST UPDATE CREATE"},
    "7.40.0": {"functionsAcl": "READ WRITE", "projectsAcl": "READ LIST UPDATE CREATE"},
}
"""What is in the lists of versions that read nothing else, where it is not what Kvern has."""

LENIENT = ("6.0.0", "6.39.0", "7.60.0", "7.94.2", "8.0.0", "8.22.0")


def told(version: str, capabilities: list[Acl]) -> list[Acl]:
    return readable(capabilities) if is_strict(f"CognitePythonSDK:{version}") else capabilities


@pytest.mark.parametrize("version", ACTIONS_OF)
def test_a_version_is_told_no_action_that_it_does_not_know(version: str) -> None:
    known = {name: set(actions) for name, actions in ACTIONS.items()}
    known |= {name: set(actions.split()) for name, actions in ACTIONS_OF[version].items()}
    capabilities = told(version, every_capability())
    assert [*ACTIONS] == [name for acl in capabilities for name in acl]
    for acl in capabilities:
        for name, body in acl.items():
            assert set(body["actions"]) <= known[name]


@pytest.mark.parametrize("version", LENIENT)
def test_other_versions_are_told_all(version: str) -> None:
    assert told(version, every_capability()) == every_capability()


@pytest.mark.parametrize("client", ["", "CogniteToolkit:0.9.28", "KvernPythonSDK:7.0.0", "CognitePythonSDK:70.1.0"])
def test_other_clients_are_told_all(client: str) -> None:
    assert not is_strict(client)


def test_what_is_left_out_and_what_is_rewritten() -> None:
    scope = {"projects": ["kvern"]}
    assert readable(
        [
            {"functionsAcl": {"actions": ["RUN"], "scope": {"all": {}}}, "projectScope": scope},
            {"appHostingAcl": {"actions": ["READ"], "scope": {"all": {}}}},
            {"datasetsAcl": {"actions": ["READ"], "scope": {"idscope": {"ids": [1]}}}, "projectScope": scope},
        ]
    ) == [{"datasetsAcl": {"actions": ["READ"], "scope": {"idScope": {"ids": [1]}}}, "projectScope": scope}]
