"""Bare HTTP against a server, and short ways to functions that tests need."""

from __future__ import annotations

import io
import textwrap
import time
import zipfile
from types import TracebackType
from typing import Any

import httpx2

from tests.acceptance.compatibility import HTTP, NOTEBOOK
from tests.acceptance.recording import Exchange
from tests.acceptance.server import until


def bundle(**files: str | bytes) -> bytes:
    """A zip; `handler="…"` is `handler.py`, and `sub__x="…"` is `sub/x.py`; `requirements` is the text file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            path = "requirements.txt" if name == "requirements" else name.replace("__", "/") + ".py"
            archive.writestr(path, textwrap.dedent(content) if isinstance(content, str) else content)
    return buffer.getvalue()


def _note(response: httpx2.Response) -> None:
    request = response.request
    NOTEBOOK.exchanged(HTTP, Exchange(request.method, request.url.path, response.status_code))


class Api:
    """A client with a token; paths are relative to the project."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.http = httpx2.Client(timeout=90, event_hooks={"response": [_note]})
        self.root = env["CDF_URL"]
        self.base = f"{self.root}/api/v1/projects/{env['CDF_PROJECT']}"
        self.log_in()

    def log_in(self) -> None:
        """Get a token; it lasts for an hour."""
        env = self.env
        form = {
            "grant_type": "client_credentials",
            "client_id": env["IDP_CLIENT_ID"],
            "client_secret": env["IDP_CLIENT_SECRET"],
            "scope": env["IDP_SCOPES"],
        }
        answer = self.http.post(env["IDP_TOKEN_URL"], data=form)
        answer.raise_for_status()
        self.token = answer.json()["access_token"]
        self.headers = {"authorization": f"Bearer {self.token}"}

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.http.close()

    def get(self, path: str, **more: Any) -> httpx2.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        return self.http.get(self.base + path, headers=headers, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        if body is not None:
            more["json"] = body
        return self.http.post(self.base + path, headers=headers, **more)

    def upload(self, content: bytes, name: str = "bundle.zip") -> int:
        """The id of a file with these bytes."""
        answer = self.post("/files", {"name": name})
        assert answer.status_code == 201, answer.text
        made = answer.json()
        put = self.http.put(made["uploadUrl"], content=content)
        assert put.status_code in (200, 201), put.text
        return int(made["id"])

    def create(self, content: bytes, **fields: Any) -> dict[str, Any]:
        """A function from a zip, in whatever status it is created."""
        wanted = {"name": "test", "fileId": self.upload(content), **fields}
        answer = self.post("/functions", {"items": [wanted]})
        assert answer.status_code == 201, answer.text
        return dict(answer.json()["items"][0])

    def deployed(self, content: bytes, **fields: Any) -> dict[str, Any]:
        """A function from a zip, once its deployment has ended."""
        made = self.create(content, **fields)

        def ended() -> dict[str, Any] | None:
            function = self.get(f"/functions/{made['id']}").json()
            return function if function["status"] in ("Ready", "Failed") else None

        return dict(until(ended, 110, f"the deployment of {made} has ended"))

    def ready(self, handler: str, **fields: Any) -> int:
        """The id of a Ready function with this `handler.py`."""
        more = fields.pop("files", {})
        function = self.deployed(bundle(handler=handler, **more), **fields)
        assert function["status"] == "Ready", function["error"]
        return int(function["id"])

    def call(self, function_id: int, data: Any = None, seconds: float = 60, **more: Any) -> dict[str, Any]:
        """A call, waited for to its end."""
        body = {} if data is None else {"data": data}
        answer = self.post(f"/functions/{function_id}/call", body, **more)
        assert answer.status_code == 201, answer.text
        return self.ended(answer.json(), seconds)

    def ended(self, call: dict[str, Any], seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while call["status"] == "Running" and time.monotonic() < deadline:
            path = f"/functions/{call['functionId']}/calls/{call['id']}"
            call = self.get(path, headers={"prefer": "wait=10"}).json()
        assert call["status"] != "Running", f"the call did not end in {seconds} s"
        return call

    def response(self, call: dict[str, Any]) -> Any:
        return self.get(f"/functions/{call['functionId']}/calls/{call['id']}/response").json().get("response")

    def logs(self, call: dict[str, Any]) -> list[str]:
        answer = self.get(f"/functions/{call['functionId']}/calls/{call['id']}/logs")
        assert answer.status_code == 200, answer.text
        return [entry["message"] for entry in answer.json()["items"]]

    def delete(self, function_id: int) -> None:
        answer = self.post("/functions/delete", {"items": [{"id": function_id}]})
        assert answer.status_code == 200, answer.text
