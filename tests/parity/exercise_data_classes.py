"""Does the same to the data classes of both packages and prints what came of it, as JSON. Needs no server."""

from __future__ import annotations

import importlib
import json
import pickle
import sys
import warnings

import yaml

FUNCTION = {
    "id": 1,
    "createdTime": 1700000000000,
    "name": "a: tricky 'name' #1\nwith ünïcode",
    "status": "Ready",
    "fileId": 5,
    "externalId": "yes",
    "description": "- no list",
    "owner": "",
    "functionPath": "./src/handler.py",
    "secrets": {"my-key": "***"},
    "envVars": {"A_B": "1", "empty": ""},
    "cpu": 1.0,
    "memory": 1.5,
    "runtime": "py311",
    "runtimeVersion": "Python 3.11.10",
    "metadata": {"camelCase": "x", "snake_case": "1e5", "n": "null"},
    "error": {"message": "m", "trace": "t"},
    "lastCalled": 1700000000001,
    "functionType": "classic",
}
MINIMAL = {"id": 2, "createdTime": 0, "name": "n", "status": "Queued", "fileId": 6}
CALL = {
    "id": 3,
    "startTime": 1700000000000,
    "status": "Failed",
    "functionId": 1,
    "endTime": 1700000000500,
    "scheduledTime": 1700000000000,
    "scheduleId": 9,
    "error": {"message": "m", "trace": "t"},
}
SCHEDULE = {
    "id": 4,
    "name": "s",
    "createdTime": 1700000000000,
    "cronExpression": "* * * * *",
    "sessionId": 7,
    "when": "Every minute",
    "functionId": 1,
    "description": "",
}
FILE = {
    "id": 8,
    "uploaded": True,
    "createdTime": 1700000000000,
    "lastUpdatedTime": 1700000000000,
    "uploadedTime": 1700000000000,
    "name": "f.zip",
    "externalId": "f",
    "mimeType": "application/zip",
    "metadata": {"a": "b"},
    "labels": [{"externalId": "l"}],
    "assetIds": [1, 2],
    "dataSetId": 3,
    "geoLocation": {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [1.0, 2.0]},
        "properties": {"p": 1},
    },
    "instanceId": {"space": "s", "externalId": "x"},
}
SESSION = {"id": 1, "type": "TOKEN_EXCHANGE", "status": "READY", "creationTime": 1, "expirationTime": 2}
LIMITS = {
    "timeoutMinutes": 9,
    "cpuCores": {"min": 1.0, "max": 3.0, "default": 1.0},
    "memoryGb": {"min": 1.0, "max": 3.0, "default": 1.5},
    "runtimes": ["py310"],
    "responseSizeMb": 1,
}
SAMPLES = {
    "Function": [FUNCTION, MINIMAL],
    "FunctionWrite": [FUNCTION, {"name": "n", "fileId": 1}],
    "FunctionCall": [CALL, {"id": 3, "startTime": 1, "status": "Running", "functionId": 1}],
    "FunctionSchedule": [SCHEDULE],
    "FunctionScheduleWrite": [{"name": "s", "cronExpression": "c", "functionId": 1, "data": {"a_b": 1}, "nonce": "n"}],
    "FunctionCallLogEntry": [{"message": "m", "timestamp": 1700000000000}, {"message": ""}],
    "FunctionsLimits": [LIMITS],
    "FunctionsStatus": [{"status": "activated"}],
    "FileMetadata": [FILE],
    "FileMetadataWrite": [{key: FILE[key] for key in FILE if key not in ("id", "uploaded", "instanceId")}],
    "Session": [SESSION],
    "CreatedSession": [{"id": 1, "status": "READY", "nonce": "n", "clientId": "c"}],
    "RevokedSession": [{"id": 1}, SESSION],
    "ClientCredentials": [{"clientId": "i", "clientSecret": "s"}],
    "TimestampRange": [{"min": 1, "max": 2}, {}],
}
LISTS = {
    "FunctionList": [FUNCTION, MINIMAL],
    "FunctionCallList": [CALL],
    "FunctionSchedulesList": [SCHEDULE],
    "FunctionCallLog": [{"message": "m", "timestamp": 1700000000000}, {"message": "o"}],
    "FileMetadataList": [FILE],
    "SessionList": [SESSION],
}


def attempt(work):
    """What it gives, or which kind of error."""
    try:
        return work()
    except Exception as error:
        return {"raises": type(error).__name__, "kinds": [kind.__name__ for kind in type(error).__mro__[1:]]}


def frame(made):
    data = made.to_pandas()
    return [data.to_json(default_handler=str), sorted(str(kind) for kind in data.dtypes), list(map(str, data.columns))]


def exercise(package):
    functions = importlib.import_module(f"{package}.data_classes.functions")
    every = importlib.import_module(f"{package}.data_classes")
    files = importlib.import_module(f"{package}.data_classes.files")
    exceptions = importlib.import_module(f"{package}.exceptions")
    seen = {}

    def cls(name):
        return next(getattr(module, name) for module in (functions, files, every) if hasattr(module, name))

    for name, samples in SAMPLES.items():
        kind = cls(name)
        for number, sample in enumerate(samples):
            made = kind.load(sample)
            seen[f"{name} {number}"] = {
                "camel": list(made.dump().items()),
                "snake": list(made.dump(camel_case=False).items()),
                "str": str(made),
                "yaml": list(yaml.safe_load(made.dump_yaml()).items()),
                "again": kind.load(made.dump()) == made,
                "from json": kind.load(json.dumps(sample)) == made,
                "from yaml": kind.load(yaml.safe_dump(sample)) == made,
                "equal to a dict": made == made.dump(),
                "hash": attempt(lambda made=made: hash(made)),
                "load_if": kind.load_if(None),
                "pickled": pickle.loads(pickle.dumps(made)) == made,
                "frame": frame(made),
                "expanded": list(map(str, made.to_pandas(expand_metadata=True, camel_case=True).index)),
                "ignored": list(map(str, made.to_pandas(ignore=["id", "name"]).index)),
                "write": attempt(lambda made=made: list(made.as_write().dump().items())),
                "nothing": attempt(lambda kind=kind: kind.load({}).dump()),
                "wrong": attempt(lambda kind=kind: kind.load([1])),
            }
    for name, samples in LISTS.items():
        kind = cls(name)
        made = kind.load(samples)
        other = cls("Label")("x")
        seen[name] = {
            "dump": made.dump(),
            "snake": made.dump(camel_case=False),
            "raw": made.dump_raw(),
            "str": str(made),
            "yaml": yaml.safe_load(made.dump_yaml()),
            "length": len(made),
            "slice": [type(made[:1]).__name__, made[:1].dump()],
            "first": type(made[0]).__name__,
            "sum": type(made + made).__name__,
            "equal": made == kind.load(samples),
            "ids": attempt(lambda made=made: made.as_ids()),
            "external ids": attempt(lambda made=made: made.as_external_ids()),
            "get id": attempt(lambda made=made: (made.get(id=1) or made.get(id=3)).dump()),
            "get nothing": attempt(lambda made=made: made.get(external_id="not there")),
            "get both": attempt(lambda made=made: made.get(id=1, external_id="x")),
            "get none": attempt(lambda made=made: made.get()),
            "extend": attempt(lambda made=made, kind=kind: made.extend(kind([]))),
            "wrong": attempt(lambda kind=kind, other=other: kind([other])),
            "empty": attempt(lambda kind=kind: [kind([]).dump(), kind([]).dump_yaml(), str(kind([]))]),
            "write": attempt(lambda made=made: made.as_write().dump()),
            "frame": frame(made),
            "expanded": list(map(str, made.to_pandas(expand_metadata=True).columns)),
            "html": "<table" in made._repr_html_(),
        }
    functions_list = functions.FunctionList.load([FUNCTION])
    seen["duplicates"] = attempt(lambda: functions_list.extend(functions.FunctionList.load([FUNCTION])))
    log = functions.FunctionCallLog.load(LISTS["FunctionCallLog"])
    seen["log"] = [log.to_text(), log.to_text(with_timestamps=True)]
    seen["filters"] = [
        functions.FunctionFilter(name="n", file_id=1, metadata={"a_b": "c"}).dump(),
        functions.FunctionCallsFilter(status="Running", start_time={"min": 1}).dump(),
        functions.FunctionSchedulesFilter(function_external_id="x").dump(camel_case=False),
        str(functions.FunctionFilter(name="n", metadata={"a": "b"})),
        functions.FunctionFilter(name="a") == functions.FunctionFilter(name="a"),
        functions.FunctionFilter() == functions.FunctionCallsFilter(),
    ]
    seen["ranges"] = [
        attempt(lambda: every.TimestampRange(min="x")),
        attempt(lambda: every.TimestampRange(max=-9_999_999_999_999)),
        attempt(lambda: every.TimestampRange(max=[1])),
        every.TimestampRange(2, 1).dump(),
        abs(every.TimestampRange(min="1d-ago").min - every.TimestampRange(max="now").max + 86_400_000) < 1000,
        every.TimestampRange(min="1w-ahead").min > every.TimestampRange(max="now").max,
    ]
    seen["client"] = [
        attempt(lambda: functions.Function.load(MINIMAL).call()),
        attempt(lambda: functions.FunctionCall.load(CALL).get_logs()),
        attempt(lambda: functions.FunctionCall.load(CALL).as_write()),
        attempt(lambda: functions.Function.load(MINIMAL).set_client_ref("no client")),
    ]
    labels = every.Label
    seen["labels"] = [
        attempt(lambda: labels.convert_label({"external_id": "x"}).dump()),
        attempt(lambda: labels.convert_label(3)),
        every.LabelFilter(contains_any=["a"], contains_all=["b"]).dump(camel_case=False),
        attempt(lambda: files.FileMetadataWrite(name="n", geo_location="nowhere")),
        attempt(lambda: files.FileMetadataFilter(labels="no")),
        attempt(lambda: every.Geometry("Square", [])),
    ]
    api = exceptions.CogniteAPIError("text", 400, "id", missing=[{"id": 1}], failed=[1], project="p", extra={"k": "v"})
    found = exceptions.CogniteNotFoundError("text", 400, [{"id": 1}] * 12, x_request_id="r", failed=[1])
    twice = exceptions.CogniteDuplicatedError("text", 409, [{"externalId": "x"}])
    seen["exceptions"] = {
        "api": sorted((key, value) for key, value in vars(api).items()),
        "found": [sorted(vars(found)), found.not_found, found.code, found.failed, found.unknown],
        "twice": [twice.duplicated, twice.missing, isinstance(twice, exceptions.CogniteAPIError)],
        "said": [
            all(part in str(api) for part in ("text", "{'id': 1}", "400", "X-Request-ID: id", "project: p", '"k": "v"'))
        ],
        "caught": [isinstance(exceptions.CogniteImportError("pandas"), ImportError)],
    }
    return json.loads(json.dumps(seen, default=str).replace(package, "PACKAGE"))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    json.dump({"official": exercise("cognite.client"), "ours": exercise("kvern.client")}, sys.stdout)
