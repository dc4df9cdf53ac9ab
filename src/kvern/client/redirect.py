"""The local address that a browser comes back to after a login (RFC 8252, section 7.3)."""

from __future__ import annotations

import html
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from kvern.client.exceptions import CogniteOAuthError

if TYPE_CHECKING:
    from typing_extensions import Self

LOGIN_SECONDS = 300
"""How long a person may take."""


class Redirect:
    """Waits for the browser and takes the code that it brings.

    Args:
        port: The local port; 0 takes a free one.
        state: What proves that the browser comes from our own request.
    """

    def __init__(self, port: int, state: str) -> None:
        answers: list[dict[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
                ours = query.get("state") == state
                if ours:
                    answers.append(query)
                text = query.get("error_description", "You are logged in and can close this page.") if ours else "?"
                self.send_response(200 if ours else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(f"<p>{html.escape(text)}</p>".encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (named by the base class)
                """Keeps the code out of the terminal."""

        self._answers = answers
        self._server = HTTPServer(("localhost", port), Handler)
        self._server.timeout = 1
        self.url: str = f"http://localhost:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    def code(self) -> str:
        """The code, once the browser came back. Raises `CogniteOAuthError` when it brought none."""
        deadline = time.monotonic() + LOGIN_SECONDS
        while not self._answers:
            if time.monotonic() > deadline:
                raise CogniteOAuthError("timeout", f"Nobody logged in within {LOGIN_SECONDS} seconds")
            self._server.handle_request()
        answer = self._answers[0]
        if "code" not in answer:
            raise CogniteOAuthError(answer.get("error", "no code"), answer.get("error_description", ""))
        return answer["code"]
