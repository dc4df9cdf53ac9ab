"""Paths of the cloud's API that are not served here: what to use in their place."""

from __future__ import annotations

import re

from kvern.wire.errors import ApiError, InvalidError, MethodError, NotFoundError

_PROJECT = re.compile(r"/api/v1/projects/[^/]+/([^?]*)")

_IN_PLACE = (
    (
        re.compile(r"models/instances(/|$)"),
        "The data-modelling API is not served here: keep a function's code under `dataSetExternalId`, not `space`, and "
        "name files by `externalId`, not `instanceId`",
    ),
    (
        re.compile(r"securitycategories(/|$)"),
        "There are no security categories here: keep files in data sets, and limit filesAcl to those by `datasetScope`",
    ),
    (
        re.compile(r"datasets/(aggregate|delete)$"),
        "Data sets are not counted or deleted here: list them by POST /datasets/list",
    ),
    (
        re.compile(r"files/(aggregate|search)$"),
        "Files are not counted or searched here: list them by POST /files/list",
    ),
    (
        re.compile(r"functions/(update|search|aggregate)$"),
        "Functions cannot be changed: delete the function and create it anew, its external id is free at once",
    ),
    (
        re.compile(r"functions/schedules/update$"),
        "Schedules cannot be changed: delete the schedule and create it anew",
    ),
)
"""Answered with 400: a 404 would read to clients as "that item does not exist" (contract 1.6)."""


def refusal(method: str, path: str) -> ApiError:
    """What a request to a path gets for which there is no route."""
    where = f"{method} {path}"
    found = _PROJECT.fullmatch(path)
    if found is None:
        return NotFoundError(f"There is no such route here: {where[:200]}")
    for pattern, instead in _IN_PLACE:
        if pattern.match(found[1]):
            return InvalidError(f"{instead}. {_not_served(where)}")
    return NotFoundError(f"There is no such route here. {_not_served(where)}")


def wrong_method(method: str, path: str, allowed: str) -> ApiError:
    """What a request gets to a path that is served for other methods only.

    Args:
        allowed: these, as the `Allow` header names them.
    """
    where = f"{method} {path}"
    told = f"Method not allowed: {where[:200]}; expected {allowed}"
    found = _PROJECT.fullmatch(path)
    if found is None:
        return MethodError(told)
    for pattern, instead in _IN_PLACE:
        if pattern.match(found[1]):
            told = f"{told}. {instead}"
    return MethodError(f"{told}. {_not_served(where)}")


def _not_served(where: str) -> str:
    return (
        f"Kvern does not serve {where[:200]}: what it does is described at /openapi.json, and with --upstream it "
        "passes the rest on to a project in the cloud"
    )
