"""Identity providers that are not ours, in processes and threads of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx2

from kvern.service.clock import FakeClock, RealClock
from kvern.service.oidc_http import Reply
from tests.acceptance.server import until
from tests.environments import kept_environment
from tests.unit.issuers import FakeIssuer

WHO = """
    def handle(client, data):
        from cognite.client.exceptions import CogniteAPIError
        inspected = client.iam.token.inspect()
        try:
            client.files.list()
            files = "open"
        except CogniteAPIError as error:
            files = error.code
        return {"subject": inspected.subject, "files": files, "capabilities": inspected.dump()["capabilities"]}
"""
"""A handler that tells as whom it acts, and what that may do."""

PROVIDER = "oidc-provider-mock==0.3.4"
REDIRECT = "http://127.0.0.1/back"


def provider_command() -> str:
    """The command of a foreign provider, in an environment made once and kept for later runs."""
    return str(kept_environment("test-oidc", PROVIDER) / "bin" / "oidc-provider-mock")


class Provider:
    """The package oidc-provider-mock, as people run it: users log in at it, and get an ID token with their claims."""

    def __init__(self, folder: Path) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / "provider.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Provider:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [provider_command(), "--port", str(self.port)],
                stdout=log,
                stderr=log,
                env={**os.environ, "AUTHLIB_INSECURE_TRANSPORT": "1"},
            )

        def answers() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text()
            try:
                return httpx2.get(f"{self.url}/.well-known/openid-configuration", timeout=5).status_code == 200
            except httpx2.TransportError:
                return False

        until(answers, 110, f"the provider answers: {self._log}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None

    def token(self, user: str, client: str, **claims: object) -> str:
        """Log a user in at an application, by the authorization code flow (RFC 6749 4.1)."""
        assert httpx2.put(f"{self.url}/users/{user}", json=claims).status_code == 204
        asked = {"client_id": client, "redirect_uri": REDIRECT, "response_type": "code", "scope": "openid profile"}
        agreed = httpx2.post(f"{self.url}/oauth2/authorize", params=asked, data={"sub": user})
        (code,) = parse_qs(urlsplit(agreed.headers["location"]).query)["code"]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
        answer = httpx2.post(f"{self.url}/oauth2/token", data=form, auth=(client, "any"))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id_token"])


class ServedIssuer(FakeIssuer):
    """An issuer of the unit tests that answers over HTTP: it signs what a test wants, and gives tokens to clients."""

    def __init__(self) -> None:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(asyncio.run(issuer.get(issuer.url + self.path)))

            def do_POST(self) -> None:
                fields = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
                self._answer(asyncio.run(issuer.post(issuer.url + self.path, fields)))

            def _answer(self, reply: Reply) -> None:
                body = json.dumps(reply.body).encode()
                self.send_response(reply.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing: tests look at what was answered."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        clock = FakeClock()
        clock.now = RealClock().now  # type: ignore[method-assign]
        super().__init__(f"http://127.0.0.1:{self._server.server_address[1]}", clock)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> ServedIssuer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def words(capabilities: list[dict[str, dict[str, list[str]]]]) -> set[str]:
    """Capabilities as `functionsAcl:READ`."""
    return {
        f"{name}:{action}"
        for acl in capabilities
        for name, content in acl.items()
        if re.fullmatch(r"\w+Acl", name)
        for action in content["actions"]
    }


def _free_port() -> int:
    """A port that nobody listens on, and that the kernel gives to nobody who asks for any: its own begin at 32768."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
