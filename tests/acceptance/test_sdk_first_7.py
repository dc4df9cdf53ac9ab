"""The first version 7 of the official SDK, which takes an answer with one unknown action in it for broken."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.acceptance.api import Api
from tests.acceptance.server import Server
from tests.environments import kept_environment

CODE = """
import json, os
from cognite.client import ClientConfig, CogniteClient, global_config
from cognite.client.credentials import OAuthClientCredentials

global_config.disable_pypi_version_check = True
e = os.environ
credentials = OAuthClientCredentials(
    e["IDP_TOKEN_URL"], e["IDP_CLIENT_ID"], e["IDP_CLIENT_SECRET"], e["IDP_SCOPES"].split()
)
client = CogniteClient(ClientConfig("old", e["CDF_PROJECT"], credentials, base_url=e["CDF_URL"]))
function = client.functions.retrieve(external_id="of an old sdk")
call = function.call({"a": 1})
schedule = client.functions.schedules.create("s", "0 0 1 1 *", function_id=function.id, data={"b": 2})
file = client.files.upload_bytes(b"abc", name="n", external_id="of an old sdk", overwrite=True)
print(json.dumps({
    "inspected": [
        sorted(action.value for action in one.capability.actions)
        for one in client.iam.token.inspect().capabilities
        if "unctions" in type(one.capability).__name__
    ],
    "own groups": len(client.iam.groups.list()),
    "groups": sorted(group.name for group in client.iam.groups.list(all=True)),
    "response": call.get_response(),
    "logs": [line.message for line in call.get_logs()],
    "calls": client.functions.calls.retrieve(call.id, function_id=function.id).status,
    "schedule": client.functions.schedules.retrieve(schedule.id).get_input_data(),
    "listed": [file.id in [one.id for one in client.files.list(limit=None)], client.files.download_bytes(id=file.id).decode()],
    "data sets": client.data_sets.list().dump(),
}))
client.functions.schedules.delete(schedule.id)
client.files.delete(external_id="of an old sdk")
"""


@pytest.fixture(scope="module")
def groups(api: Api) -> None:
    """A function, and groups with what that version does not know."""
    api.ready("def handle(data):\n    print('hello')\n    return data\n", externalId="of an old sdk")
    every = {"all": {}}
    capabilities = [
        {"functionsAcl": {"actions": ["READ", "RUN"], "scope": every}},
        {"datasetsAcl": {"actions": ["READ"], "scope": {"idscope": {"ids": [1]}}}},
        {"appHostingAcl": {"actions": ["RUN"], "scope": every}},
        {"timeSeriesAcl": {"actions": ["OBSERVE"], "scope": {"spaceIdScope": {"spaceIds": ["a"]}}}},
    ]
    made = api.post("/groups", {"items": [{"name": "of an old sdk", "capabilities": capabilities}]})
    assert made.status_code == 201, made.text


def test_the_first_version_7_reads_all_answers(server: Server, groups: None) -> None:
    python = kept_environment("test-sdk70", "cognite-sdk==7.0.0") / "bin" / "python"
    env = {**server.environment(), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    ran = subprocess.run([str(python), "-W", "ignore", "-c", CODE], env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert "of an old sdk" in told.pop("groups")
    assert told.pop("own groups") == 1
    del told["data sets"]
    assert told == {
        "inspected": [["READ", "WRITE"]],
        "response": {"a": 1},
        "logs": ["hello"],
        "calls": "Completed",
        "schedule": {"b": 2},
        "listed": [True, "abc"],
    }
