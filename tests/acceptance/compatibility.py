"""What each official client asked of the server, what came of it, and the page that tells.

A test that drives a client notes what it runs; when the tests have ended, `page` writes it down. A line works when every
test that touched it passed, so the page cannot say more than was tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.recording import Exchange

SDK7, SDK8, TOOLKIT, HTTP = "cognite-sdk 7", "cognite-sdk 8", "cognite-toolkit", "HTTP"

VERSIONS = {SDK7: "cognite-sdk==7.94.2", SDK8: "cognite-sdk==8.22.0", TOOLKIT: "cognite-toolkit==0.9.28"}
"""What is installed from the package index. Exact, so that the page names what was run; newer ones are put in here."""

TOOLKIT_COMMANDS = (
    "cdf build",
    "cdf deploy",
    "cdf deploy --dry-run",
    "cdf dump functions",
    "cdf dump datasets",
    "cdf modules list",
    "cdf modules pull",
    "cdf modules pull --dry-run",
    "cdf run function live",
    "cdf run function local",
    "cdf auth verify",
    "cdf auth status",
    "cdf clean",
    "cdf clean --dry-run",
)
"""The commands of the Toolkit that have to do with functions."""

WORKS, FAILS, UNTRIED = "works", "**fails**", "–"


@dataclass(frozen=True)
class Endpoint:
    """One operation of the server's own description."""

    method: str
    path: str

    def takes(self, exchange: Exchange) -> bool:
        return exchange.method == self.method and self._pattern().fullmatch(exchange.path) is not None

    def _pattern(self) -> re.Pattern[str]:
        parts = re.split(r"(\{\w+\})", self.path)
        return re.compile("".join(self._part(part) for part in parts))

    @staticmethod
    def _part(part: str) -> str:
        if not part.startswith("{"):
            return re.escape(part)
        return r"[0-9]+" if part.endswith("_id}") else r"[^/]+"

    def __str__(self) -> str:
        return f"{self.method} {self.path.removeprefix('/api/v1/projects/{project}') or '/api/v1/projects/{project}'}"


def endpoints(description: dict[str, Any]) -> list[Endpoint]:
    """All operations of an OpenAPI document, in its order."""
    return [Endpoint(method.upper(), path) for path, item in description["paths"].items() for method in item]


@dataclass
class Notebook:
    """Who ran what in which test, and how the tests ended."""

    test: str = ""
    order: dict[str, int] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    surfaces: dict[str, list[str]] = field(default_factory=dict)
    _ran: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    _exchanged: dict[tuple[str, Exchange], set[str]] = field(default_factory=dict)

    def ran(self, client: str, what: str) -> None:
        """`what` is a method of the SDK or a command of the Toolkit."""
        self._ran.setdefault((client, what), set()).add(self.test)

    def exchanged(self, client: str, exchange: Exchange) -> None:
        """`client` asked for something and was answered."""
        self._exchanged.setdefault((client, exchange), set()).add(self.test)

    def tests(self, what: str, clients: Iterable[str]) -> list[str]:
        """The tests in which one of these clients ran `what`, in the order in which they are written."""
        found = {test for client in clients for test in self._ran.get((client, what), ())}
        return sorted(found, key=lambda test: self.order.get(test, 0))

    def methods(self, *clients: str) -> list[str]:
        """The functions surface of these clients, then what else of them was run, by name."""
        surface = [method for client in clients for method in self.surfaces.get(client, ())]
        return list(dict.fromkeys([*surface, *sorted(what for client, what in self._ran if client in clients)]))

    def result(self, client: str, what: str) -> str:
        return self._verdict(self._ran.get((client, what), set()))

    def answered(self, client: str, endpoint: Endpoint) -> str:
        """Works when the endpoint did what was asked at least once, and no test that saw it failed."""
        seen = [(e, tests) for (who, e), tests in self._exchanged.items() if who == client and endpoint.takes(e)]
        if not any(exchange.worked for exchange, _ in seen):
            return UNTRIED
        return self._verdict({test for _, tests in seen for test in tests})

    def not_served(self, table: Sequence[Endpoint]) -> list[tuple[str, str]]:
        """What clients asked for and the server has no route for: client, method and path."""
        return sorted(
            {
                (client, f"{exchange.method} {exchange.path}")
                for client, exchange in self._exchanged
                if client != HTTP and not any(endpoint.takes(exchange) for endpoint in table)
            }
        )

    def _verdict(self, tests: set[str]) -> str:
        if not tests:
            return UNTRIED
        return FAILS if tests & self.failed else WORKS


NOTEBOOK = Notebook()
"""The one of this run."""


def page(notebook: Notebook, table: Sequence[Endpoint]) -> str:
    """The whole of docs/compatibility.md."""
    clients = (SDK7, SDK8, TOOLKIT)
    names = [VERSIONS[client].replace("==", " ") for client in clients]
    lines = [
        "# Compatibility",
        "",
        "<!-- Written by tests/acceptance/test_compatibility.py when all acceptance tests run. Do not edit. -->",
        "",
        "What the official clients ran against a real server, as the acceptance tests saw it: each client came from the",
        "package index, in an environment of its own, and was pointed at the server by what `kvern env` prints.",
        f"*{WORKS}*: it was run and did what the test expects. *{FAILS.strip('*')}*: a test that ran it failed.",
        f"{UNTRIED}: not run by this client. How to point the Toolkit at Kvern is told in [toolkit.md](toolkit.md).",
        "",
        "## Endpoints",
        "",
        "Paths without a prefix are below `/api/v1/projects/{project}`. HTTP: plain requests, as with `curl`.",
        "",
        *_table(
            ["Endpoint", *names, "HTTP"],
            (
                [f"`{endpoint}`", *(notebook.answered(client, endpoint) for client in (*clients, HTTP))]
                for endpoint in table
            ),
        ),
        "",
    ]
    unserved = notebook.not_served(table)
    if unserved:
        lines += [
            "Asked for and not served; the client goes on without it:",
            "",
            *(f"- `{what}`, by {VERSIONS[client].replace('==', ' ')}" for client, what in unserved),
            "",
        ]
    methods = notebook.methods(SDK8, SDK7)
    lines += [
        "## cognite-sdk",
        "",
        "The functions surface whole, and of files and IAM what it needs. The same scenarios run under both versions. In 8",
        "every method of `CogniteClient` wraps the one of `AsyncCogniteClient`; *(async)* marks those that were also run",
        "directly.",
        "",
        *_table(
            ["Method", *names[:2], "What was run"],
            (
                [
                    f"`{method}`" if not method.startswith("async ") else f"`{method[6:]}` *(async)*",
                    *(notebook.result(client, method) for client in (SDK7, SDK8)),
                    _titles(notebook.tests(method, (SDK7, SDK8))),
                ]
                for method in methods
            ),
        ),
        "",
        "## cognite-toolkit",
        "",
        "A module with a data set, two functions with requirements, secrets and variables, and two schedules with",
        "credentials of their own.",
        "",
        *_table(
            ["Command", names[2], "What was run"],
            (
                [f"`{command}`", notebook.result(TOOLKIT, command), _titles(notebook.tests(command, (TOOLKIT,)))]
                for command in TOOLKIT_COMMANDS
            ),
        ),
    ]
    return "\n".join(lines) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


def _titles(tests: Sequence[str]) -> str:
    """What two of the tests say of themselves, and how many more there are."""
    titles = list(dict.fromkeys(_title(test) for test in tests))
    shown = "; ".join(titles[:2])
    return f"{shown}; {len(titles) - 2} more" if len(titles) > 2 else shown or UNTRIED


def _title(test: str) -> str:
    name = test.rpartition("::")[2].partition("[")[0]
    return name.removeprefix("test_").replace("_", " ")
