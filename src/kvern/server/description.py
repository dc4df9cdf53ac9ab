"""The API's description over HTTP: as a document, and as a page to browse that needs no other server."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import HTMLResponse

from kvern.server.ask import Answer, Ask, answers
from kvern.server.openapi import describe

if TYPE_CHECKING:
    from kvern.server.app import Route

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem 1.5rem;color:#1c2330;background:#fff}
h1{margin-bottom:0}h2{margin-top:2.2rem;border-bottom:1px solid #d5dae3;text-transform:capitalize}
details{border:1px solid #d5dae3;border-radius:6px;margin:.4rem 0;padding:.35rem .8rem}
summary{cursor:pointer}code,pre,.path{font-family:ui-monospace,monospace;font-size:13px}
.verb{display:inline-block;width:3.6rem;font-weight:700}.get{color:#0a6b4f}.post{color:#1f4fa8}.put{color:#8a5a00}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.15rem .8rem .15rem 0}
nav a{margin-right:1rem}.dim{color:#5d6778}
@media (prefers-color-scheme:dark){body{background:#12161d;color:#dde3ee}h2,details{border-color:#333c4a}
.get{color:#5fcfa6}.post{color:#86aef5}.put{color:#e0ad55}a{color:#86aef5}.dim{color:#93a0b5}}
"""


class DescriptionRoutes:
    """Made once, from the whole table; asked for rarely."""

    def __init__(self) -> None:
        self.table: Sequence[Route] = ()

    @cached_property
    def _document(self) -> dict[str, Any]:
        return describe(self.table)

    @answers(dict[str, Any])
    async def openapi(self, ask: Ask[None]) -> Answer:
        """The description of this API (OpenAPI 3.1)."""
        return Answer(msgspec.json.format(msgspec.json.encode(self._document)))

    @answers(None, media="text/html")
    async def reference(self, ask: Ask[None]) -> HTMLResponse:
        """The same, to browse."""
        return HTMLResponse(
            _page(self._document), headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
        )


def _page(document: dict[str, Any]) -> str:
    operations: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            operations.setdefault(operation["tags"][0], []).append((verb, path, operation))
    schemas = document["components"]["schemas"]
    title = f"{_text(document['info']['title'])} {_text(document['info']['version'])}"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{title}</title>",
        f"<style>{_STYLE}</style><h1>{title}</h1><p>{_text(document['info']['description'])} ",
        "As a document for tools: <a href=/openapi.json>openapi.json</a>.</p><nav>",
        *(f"<a href='#{_text(tag)}'>{_text(tag)}</a>" for tag in operations),
        "<a href='#types'>types</a></nav>",
    ]
    for tag, rows in operations.items():
        parts.append(f"<h2 id='{_text(tag)}'>{_text(tag)}</h2>")
        parts.extend(_operation(verb, path, operation) for verb, path, operation in rows)
    parts.append("<h2 id=types>Types</h2>")
    parts.extend(_schema(name, schema) for name, schema in sorted(schemas.items()))
    return "".join(parts)


def _operation(verb: str, path: str, operation: dict[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    rows = [
        *(
            (parameter["name"], parameter["in"], parameter.get("description", ""))
            for parameter in operation["parameters"]
        ),
    ]
    answers = [
        (status, _kind(next(iter(answer["content"].values())).get("schema", {})), answer["description"])
        for status, answer in operation["responses"].items()
    ]
    return (
        f"<details><summary><span class='verb {verb}'>{verb.upper()}</span> <span class=path>{_text(path)}</span> "
        f"<span class=dim>{_text(operation['summary'])}</span></summary>"
        f"<p>{_text(operation.get('description', 'No token.'))}</p>"
        + (f"<p>Body: {_kind(body)}</p>" if body else "")
        + (_table(("Parameter", "In", ""), ((_text(a), _text(b), _text(c)) for a, b, c in rows)) if rows else "")
        + _table(("Answer", "", ""), ((a, b, _text(c)) for a, b, c in answers))
        + "</details>"
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    needed = set(schema.get("required", ()))
    fields = (
        (f"<code>{_text(key)}</code>", _kind(value), "required" if key in needed else "")
        for key, value in schema.get("properties", {}).items()
    )
    return (
        f"<details id='type-{_text(name)}'><summary><code>{_text(name)}</code> "
        f"<span class=dim>{_text(schema.get('description', '').partition(chr(10))[0])}</span></summary>"
        f"{_table(('Field', 'Type', ''), fields)}</details>"
    )


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words, with links to the types that it names."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"<a href='#type-{_text(name)}'>{_text(name)}</a>"
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"] if part.get("type") != "null")
    if "enum" in schema:
        return " | ".join(f"<code>{_text(str(value))}</code>" for value in schema["enum"])
    kind = schema.get("type", "any JSON")
    inner = f" of {_kind(schema['items'])}" if isinstance(schema.get("items"), dict) else ""
    return f"{_text(kind)}{inner}{''.join(_bounds(schema))}"


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    named = {"minimum": "≥", "maximum": "≤", "minLength": "length ≥", "maxLength": "length ≤", "minItems": "items ≥"}
    named |= {"maxItems": "items ≤", "maxProperties": "entries ≤", "pattern": "matching"}
    for key, sign in named.items():
        if key in schema:
            yield f" <span class=dim>{sign} {_text(str(schema[key]))}</span>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>{body}</table>"


def _text(text: str) -> str:
    return html.escape(text, quote=True)
