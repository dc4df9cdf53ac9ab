"""Prints the public surface of a client package: every class, method and signature, as JSON. Runs beside both SDKs."""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import re
import sys

MODULES = {
    "data_classes.functions": (
        "Function FunctionWrite FunctionCore FunctionList FunctionWriteList FunctionFilter FunctionCall FunctionCallList "
        "FunctionCallLog FunctionCallLogEntry FunctionCallsFilter FunctionHandle FunctionSchedule FunctionScheduleCore "
        "FunctionScheduleWrite FunctionScheduleWriteList FunctionSchedulesFilter FunctionSchedulesList FunctionsLimits "
        "FunctionsStatus"
    ),
    "data_classes.files": (
        "FileMetadata FileMetadataWrite FileMetadataCore FileMetadataList FileMetadataWriteList FileMetadataFilter "
        "FileMultipartUploadSession"
    ),
    "data_classes.iam": (
        "ClientCredentials CreatedSession Session SessionList RevokedSession RevokedSessionList ProjectSpec TokenInspection"
    ),
    "data_classes.capabilities": (
        "Capability ProjectCapability ProjectCapabilityList FunctionsAcl SessionsAcl FilesAcl ProjectsAcl GroupsAcl "
        "DataSetsAcl AllScope CurrentUserScope IDScope IDScopeLowerCase DataSetScope"
    ),
    "data_classes": (
        "TimestampRange Geometry GeometryFilter GeoLocation GeoLocationFilter Label LabelFilter ClientCredentials Function "
        "FunctionWrite FunctionList FunctionWriteList FunctionCall FunctionCallList FunctionCallLog FunctionCallLogEntry "
        "FunctionSchedule FunctionScheduleWrite FunctionScheduleWriteList FunctionSchedulesList FunctionSchedulesFilter "
        "FunctionFilter FunctionsLimits FileMetadata FileMetadataList FileMetadataWrite FileMetadataFilter CreatedSession "
        "Session SessionList RevokedSession RevokedSessionList FileMultipartUploadSession"
    ),
    "credentials": "CredentialProvider Token OAuthClientCredentials OAuthInteractive OAuthDeviceCode OAuthClientCertificate",
    "config": "ClientConfig GlobalConfig global_config",
    "response": "CogniteHTTPResponse",
    "exceptions": (
        "CogniteException CogniteAPIError CogniteNotFoundError CogniteDuplicatedError CogniteAuthError CogniteOAuthError "
        "CogniteAuthorizationError CogniteConnectionError CogniteConnectionRefused CogniteReadTimeout CogniteRequestError "
        "CogniteHTTPStatusError CogniteProjectAccessError CogniteMultiException CogniteMissingClientError "
        "CogniteImportError CogniteFileUploadError"
    ),
    "": "AsyncCogniteClient CogniteClient ClientConfig global_config __version__",
}
APIS = ("", "functions", "functions.calls", "functions.schedules", "files", "iam", "iam.sessions", "iam.token")


def annotation_text(annotation, package):
    if annotation is inspect.Parameter.empty:
        return None
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", repr(annotation))
    return text.replace(package, "").replace("typing.", "").replace('"', "'")


def signature_of(thing, package):
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return None
    return [
        {
            "name": one.name,
            "kind": one.kind.name,
            "default": None if one.default is inspect.Parameter.empty else re.sub(r" at 0x\w+", "", repr(one.default)),
            "annotation": annotation_text(one.annotation, package),
        }
        for one in signature.parameters.values()
    ]


def members_of(owner, package):
    found = {}
    for name in dir(owner):
        if name.startswith("_") and name != "__call__":
            continue
        if name == "__call__" and not inspect.ismethod(getattr(owner, name)):
            continue
        try:
            member = inspect.getattr_static(owner, name)
        except AttributeError:
            continue
        if isinstance(member, (property,)) or not callable(getattr(owner, name, None)):
            found[name] = {"kind": "property" if isinstance(member, property) else "attribute"}
            continue
        value = getattr(owner, name)
        if inspect.isclass(value):
            found[name] = {"kind": "class"}
            continue
        function = inspect.unwrap(value)
        found[name] = {
            "kind": "method",
            "asynchronous": inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function),
            "signature": signature_of(value, package),
        }
    return found


def describe(package):
    credentials = importlib.import_module(f"{package}.credentials")
    root = importlib.import_module(package)
    described = {}
    for module, names in MODULES.items():
        path = f"{package}.{module}" if module else package
        holder = importlib.import_module(path)
        for name in names.split():
            qualified = f"{module}.{name}" if module else name
            if not hasattr(holder, name):
                described[qualified] = None
                continue
            thing = getattr(holder, name)
            entry = {"signature": None, "bases": [], "members": {}}
            if inspect.isclass(thing):
                entry["signature"] = signature_of(thing, package)
                entry["bases"] = [base.__name__ for base in thing.__mro__[1:] if base.__module__.startswith(package)]
                entry["members"] = members_of(thing, package)
                if issubclass(thing, enum.Enum):
                    entry["values"] = {one.name: one.value for one in thing}
            elif not isinstance(thing, str):
                entry["members"] = {key: {"kind": "attribute"} for key in vars(thing) if not key.startswith("_")}
            described[qualified] = entry
    config = root.ClientConfig("probe", "probe", credentials.Token("x"), base_url="http://localhost:1")
    for kind in ("CogniteClient", "AsyncCogniteClient"):
        client = getattr(root, kind)(config)
        for path in APIS:
            owner = client
            for step in filter(None, path.split(".")):
                owner = getattr(owner, step)
            described[f"{kind}().{path}".rstrip(".")] = {
                "signature": None,
                "bases": [],
                "members": members_of(owner, package),
            }
    return described


if __name__ == "__main__":
    importlib.import_module("cognite.client").global_config.disable_pypi_version_check = True
    json.dump({"official": describe("cognite.client"), "ours": describe("kvern.client")}, sys.stdout)
