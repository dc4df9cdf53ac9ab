"""An identity provider on a free port of this machine, which answers as it is told and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

Answer = tuple[int, Any]


class IdentityProvider:
    def __init__(self) -> None:
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.answers: dict[str, list[Answer | Callable[[dict[str, str]], Answer]]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.respond(*provider.answer(self.path.split("?")[0], {}))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = dict(parse_qsl(body))
                provider.forms.append((self.path, form))
                self.respond(*provider.answer(self.path, form))

            def respond(self, status: int, content: Any) -> None:
                body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.answers["/.well-known/openid-configuration"] = [
            (
                200,
                {
                    "token_endpoint": f"{self.url}/token",
                    "authorization_endpoint": f"{self.url}/authorize",
                    "device_authorization_endpoint": f"{self.url}/device",
                },
            )
        ]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def on(self, path: str, *answers: Answer | Callable[[dict[str, str]], Answer]) -> None:
        self.answers[path] = list(answers)

    def answer(self, path: str, form: dict[str, str]) -> Answer:
        answers = self.answers.get(path, [(404, {"error": "not_found"})])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer(form) if callable(answer) else answer

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
