"""Runs in the environment of the official SDK: measures, and prints seconds as JSON."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import httpx2
from cognite.client import ClientConfig, CogniteClient
from cognite.client.credentials import OAuthClientCredentials

ROUNDS = 300


def handle(data):
    return data


def timed(action: Callable[[], object]) -> list[float]:
    took: list[float] = []
    for _ in range(ROUNDS + 20):
        start = time.perf_counter()
        action()
        took.append(time.perf_counter() - start)
    return took[20:]


def main() -> None:
    env = os.environ
    credentials = OAuthClientCredentials(
        env["IDP_TOKEN_URL"], env["IDP_CLIENT_ID"], env["IDP_CLIENT_SECRET"], env["IDP_SCOPES"].split()
    )
    client = CogniteClient(ClientConfig("bench", env["CDF_PROJECT"], credentials, base_url=env["CDF_URL"]))
    function = client.functions.create(name="echo", external_id="echo", function_handle=handle)
    while function.status not in ("Ready", "Failed"):
        time.sleep(0.05)
        function.update()
    if function.status == "Failed":
        raise SystemExit(function.error)
    bare = httpx2.Client(headers=dict([credentials.authorization_header()]))
    call = f"{env['CDF_URL']}/api/v1/projects/{env['CDF_PROJECT']}/functions/{function.id}/call"

    def completed(status: str) -> None:
        if status != "Completed":
            raise SystemExit(f"a call ended as {status}")

    print(
        json.dumps(
            {
                "GET /health, bare HTTP": timed(lambda: bare.get(f"{env['CDF_URL']}/health")),
                "POST call, bare HTTP": timed(
                    lambda: completed(bare.post(call, json={"data": {"a": 1}}).json()["status"])
                ),
                "client.functions.call(id), wait": timed(
                    lambda: completed(client.functions.call(id=function.id, data={"a": 1}).status)
                ),
                "client.functions.call(external_id), wait": timed(
                    lambda: completed(client.functions.call(external_id="echo", data={"a": 1}).status)
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
