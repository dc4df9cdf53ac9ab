"""What each official client asked of the server, what came of it, and the page that tells.

A test that drives a client notes what it runs; when all tests have passed, `page` writes it down. So the page cannot say
more than was tried.
"""

from __future__ import annotations

import json
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
    "cdf modules pull",
    "cdf run function live",
    "cdf run function local",
    "cdf auth verify",
    "cdf clean",
)
"""The commands of the Toolkit that have to do with functions."""

WORKS, UNTRIED = "works", "–"


@dataclass(frozen=True)
class Endpoint:
    """One operation of the server's own description."""

    method: str
    path: str

    def takes(self, method: str, path: str) -> bool:
        return method == self.method and self._pattern().fullmatch(path) is not None

    def _pattern(self) -> re.Pattern[str]:
        parts = re.split(r"(\{\w+\})", self.path)
        return re.compile("".join(self._part(part) for part in parts))

    @staticmethod
    def _part(part: str) -> str:
        if not part.startswith("{"):
            return re.escape(part)
        if part == "{external_id}":
            return r".+"
        return r"[0-9]+" if part.endswith("_id}") else r"[^/]+"

    def __str__(self) -> str:
        return f"{self.method} {self.path.removeprefix('/api/v1/projects/{project}') or '/api/v1/projects/{project}'}"


def endpoints(description: dict[str, Any]) -> list[Endpoint]:
    """All operations of an OpenAPI document, in its order."""
    return [Endpoint(method.upper(), path) for path, item in description["paths"].items() for method in item]


@dataclass
class Notebook:
    """Who ran what in which test. Tests run in several processes: each has one, and they are put together at the end."""

    table: list[Endpoint] = field(default_factory=list[Endpoint])
    surfaces: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    order: list[str] = field(default_factory=list[str])
    _test: str = ""
    _ran: dict[tuple[str, str], set[str]] = field(default_factory=dict[tuple[str, str], set[str]])
    _worked: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])

    def collected(self, tests: Iterable[str]) -> None:
        """The tests in the order in which they are written."""
        self.order = [plain(test) for test in tests]

    def begins(self, test: str) -> None:
        """What is noted from now on belongs to this test."""
        self._test = plain(test)

    def ran(self, client: str, what: str) -> None:
        """`what` is a method of the SDK or a command of the Toolkit."""
        self._ran.setdefault((client, what), set()).add(self._test)

    def exchanged(self, client: str, exchange: Exchange) -> None:
        """`client` asked for something and was answered; what was refused is not kept."""
        if 200 <= exchange.status < 300:
            self._worked.add((client, exchange.method, exchange.path))

    def dump(self) -> str:
        """All of it, for `merge`."""
        return json.dumps(
            {
                "table": [[endpoint.method, endpoint.path] for endpoint in self.table],
                "surfaces": self.surfaces,
                "order": self.order,
                "ran": [[*key, *tests] for key, tests in self._ran.items()],
                "worked": [list(key) for key in self._worked],
            }
        )

    def merge(self, dumped: str) -> None:
        """Add what another process noted."""
        other = json.loads(dumped)
        self.table = self.table or [Endpoint(*pair) for pair in other["table"]]
        self.surfaces |= other["surfaces"]
        self.order = self.order or other["order"]
        for client, what, *tests in other["ran"]:
            self._ran.setdefault((client, what), set()).update(tests)
        self._worked |= {(client, method, path) for client, method, path in other["worked"]}

    def methods(self, *clients: str) -> list[str]:
        """The functions surface of these clients, then what else of them was run, by name."""
        surface = [method for client in clients for method in self.surfaces.get(client, ())]
        return list(dict.fromkeys([*surface, *sorted(what for client, what in self._ran if client in clients)]))

    def tests(self, what: str, clients: Iterable[str]) -> list[str]:
        """The tests in which one of these clients ran `what`, in the order in which they are written."""
        found = {test for client in clients for test in self._ran.get((client, what), ())}
        return sorted(found, key=self.order.index)

    def result(self, client: str, what: str) -> str:
        return WORKS if (client, what) in self._ran else UNTRIED

    def answered(self, client: str, endpoint: Endpoint) -> str:
        """Works when the endpoint did what was asked at least once."""
        taken = any(who == client and endpoint.takes(method, path) for who, method, path in self._worked)
        return WORKS if taken else UNTRIED

    def not_run(self) -> list[str]:
        """Methods of the functions surface that no test of their version ran."""
        return [
            f"{method} of {VERSIONS[client]}"
            for client, surface in self.surfaces.items()
            for method in surface
            if (client, method) not in self._ran
        ]


def plain(test: str) -> str:
    """A test's id without the group that it is run in."""
    return test.partition("@")[0]


NOTEBOOK = Notebook()
"""The one of this process."""


def page(notebook: Notebook) -> str:
    """The whole of docs/compatibility.md."""
    clients = (SDK7, SDK8, TOOLKIT)
    names = [VERSIONS[client].replace("==", " ") for client in clients]
    lines = [
        "# Compatibility",
        "",
        "<!-- Written by `make test` when all acceptance tests pass (tests/acceptance/compatibility.py). Do not edit. -->",
        "",
        "What the official clients ran against a real server in the acceptance tests, all of which passed: each client came",
        "from the package index, in an environment of its own, and was pointed at the server by what `kvern env` prints.",
        f"*{WORKS}*: it was run and did what the test expects. {UNTRIED}: not run by this client.",
        "How to point the Toolkit at Kvern, and what it cannot do, is told in [toolkit.md](toolkit.md).",
        "",
        "## Endpoints",
        "",
        "Paths without a prefix are below `/api/v1/projects/{project}`. HTTP: plain requests, as with `curl`.",
        "",
        *_table(
            ["Endpoint", *names, "HTTP"],
            (
                [f"`{endpoint}`", *(notebook.answered(client, endpoint) for client in (*clients, HTTP))]
                for endpoint in notebook.table
            ),
        ),
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
