"""The description of the API (OpenAPI 3.1), from the route table and the wire's types and from nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

import kvern
from kvern.server.ask import WAIT_MOST, promise_of
from kvern.wire.base import Body
from kvern.wire.files import PARTS_MOST

if TYPE_CHECKING:
    from kvern.server.app import Route

_PLACE = re.compile(r"\{(\w+)(:int)?(?::path)?\}")
_WHOLE = {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}
_TRUTH = {"type": "string", "enum": ["true", "false"]}

_PARAMETERS: dict[str, dict[str, Any]] = {
    "limit": {
        "description": "How many at most; more than the list gives is clamped.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999_999_999},
    },
    "cursor": {"description": "`nextCursor` of the page before.", "schema": {"type": "string"}},
    "status": {
        "description": "Only sessions in this status; upper or lower case.",
        "schema": {"type": "string", "pattern": "^(?i:ready|active|cancelled|expired|revoked|access_lost)$"},
    },
    "after": {
        "description": "Log entries seen already; they are left out. An addition to the contract.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_999},
    },
    "outcome": {
        "description": "Only due times that ended so, or wait; several are joined by commas.",
        "schema": {"type": "string", "pattern": "^(ran|late|skipped|queued)(,(ran|late|skipped|queued))*$"},
    },
    "overwrite": {"description": "Replace the file of the same external id.", "schema": _TRUTH},
    "name": {"description": "Only files of this name.", "schema": {"type": "string"}},
    "externalIdPrefix": {
        "description": "Only what has an external id that begins so.",
        "schema": {"type": "string", "maxLength": 255},
    },
    "directoryPrefix": {"description": "Only files whose directory begins so.", "schema": {"type": "string"}},
    "mimeType": {"description": "Only files of this type.", "schema": {"type": "string"}},
    "source": {"description": "Only files from this source.", "schema": {"type": "string"}},
    "uploaded": {"description": "Only files with content, or without.", "schema": _TRUTH},
    "parts": {
        "description": "How many parts the content comes in; needed.",
        "schema": {"type": "integer", "minimum": 1, "maximum": PARTS_MOST},
    },
    "all": {"description": "The groups of the project, not only those of the caller.", "schema": _TRUTH},
    "project": {"description": "Only clients of this project.", "schema": {"type": "string"}},
    "extendedExpiration": {"description": "Links live for an hour in place of 30 seconds.", "schema": _TRUTH},
    "attempt": {
        "description": "Only the entries of this attempt. An addition to the contract.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999_999_999},
    },
    "Idempotency-Key": {
        "in": "header",
        "description": "Calls of one function with the same key are the same call. An addition to the contract.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    },
    "Prefer": {
        "in": "header",
        "description": f"`wait=N`: hold the answer back for up to N seconds, at most {WAIT_MOST:.0f} (RFC 7240). "
        "An addition to the contract.",
        "schema": {"type": "string"},
    },
}

_REFUSALS = {
    400: "The request is wrong, or an identifier in its body names nothing.",
    401: "No token, or one that is not good here.",
    403: "The token lacks the capability, or the link is not good.",
    404: "An id in the path names nothing.",
    409: "An external id is in use, or what is asked for does not fit the state of something.",
    413: "The body is larger than the service takes.",
    415: "The body's encoding or type is not read here.",
    422: "The idempotency key was used with other data.",
    429: "A limit is reached; nothing happened.",
    500: "A fault of the service; its log tells more under the request id.",
}


class ErrorDetail(Body):
    """`missing` and `duplicated` hold identifiers in the shape in which they were sent."""

    code: int
    message: str
    missing: list[dict[str, Any]] | None = None
    duplicated: list[dict[str, Any]] | None = None


class ErrorEnvelope(Body):
    """How every refusal travels (contract 1.6)."""

    error: ErrorDetail


def describe(table: Sequence[Route]) -> dict[str, Any]:
    """The document for a table of routes; URLs in it are relative to the server that gives it."""
    types = {ErrorEnvelope, *(kind for row in table for kind in _types(row) if kind is not None)}
    ordered = sorted(types, key=str)
    shown, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    schemas = dict(zip(ordered, shown, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for row in table:
        path = row.path[1:] if row.path.startswith("//") else f"/api/v1/projects/{{project}}{row.path}"
        paths.setdefault(_PLACE.sub(r"{\1}", path), {})[row.method.lower()] = _operation(row, path, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Kvern",
            "version": kvern.__version__,
            "description": "A function service that you run yourself. It speaks the Cognite Functions API.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "oauth2": {
                    "type": "oauth2",
                    "flows": {"clientCredentials": {"tokenUrl": "/oauth2/token", "scopes": {}}},
                },
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _types(row: Route) -> tuple[Any, Any, Any]:
    promise = promise_of(row.handler)
    return row.body, promise.answer, promise.refusal


def _operation(row: Route, path: str, schemas: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _name(row),
        "tags": [_tag(path)],
        "summary": (row.handler.__doc__ or _words(row.handler.__name__)).strip().partition("\n")[0],
        "parameters": [*_path_parameters(path), *(_parameter(name) for name in promise_of(row.handler).query)],
        "responses": _responses(row, schemas),
    }
    if row.capability is not None:
        operation["security"] = [{"oauth2": []}, {"token": []}]
        operation["description"] = (
            f"Needs {' or '.join(f'`{name}`' for name in row.capability)}."
            if row.capability
            else "Needs any good token."
        )
    if row.body is not None:
        content = {"application/json": {"schema": schemas[row.body]}}
        operation["requestBody"] = {"required": not _may_be_empty(row.body), "content": content}
    return operation


def _may_be_empty(kind: Any) -> bool:
    """An absent body counts as `{}`."""
    try:
        msgspec.json.decode(b"{}", type=kind)
    except msgspec.ValidationError:
        return False
    return True


def _name(row: Route) -> str:
    owner = type(getattr(row.handler, "__self__", None)).__name__.removesuffix("Routes").lower()
    return f"{owner}_{row.handler.__name__}"


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _tag(path: str) -> str:
    words = path.removeprefix("/api/v1/projects/{project}").removeprefix("/api/v1").strip("/").split("/")
    if "schedules" in words:
        return "schedules"
    if "calls" in words or "call" in words:
        return "calls"
    return words[0] or "projects"


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _WHOLE if whole else {"type": "string", "minLength": 1},
        }
        for name, whole in _PLACE.findall(path)
    ]


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, **_PARAMETERS[name]}


def _responses(row: Route, schemas: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    promise = promise_of(row.handler)
    shown: dict[str, Any] = {} if promise.answer is None else {"schema": schemas[promise.answer]}
    good = {"description": "Done.", "content": {promise.media: shown}}
    answers: dict[str, Any] = {str(status): good for status in (promise.status, promise.also) if status is not None}
    refusal = schemas[ErrorEnvelope if promise.refusal is None else promise.refusal]
    for status, text in _REFUSALS.items():
        answers[str(status)] = {"description": text, "content": {"application/json": {"schema": refusal}}}
    return answers
