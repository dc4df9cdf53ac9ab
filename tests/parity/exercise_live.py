"""Goes through one list of scenarios with one of the two packages against a live server.

Prints, as JSON, what came of each scenario and which requests it sent; ids, times and nonces are replaced by words, so
that two runs can be compared.
"""

from __future__ import annotations

import asyncio
import gzip
import importlib
import io
import json
import os
import re
import sys
import tempfile
import time
import warnings
from pathlib import Path

import httpx2

PACKAGE = sys.argv[1]
root = importlib.import_module(PACKAGE)
credentials = importlib.import_module(f"{PACKAGE}.credentials")
classes = importlib.import_module(f"{PACKAGE}.data_classes")
functions = importlib.import_module(f"{PACKAGE}.data_classes.functions")
root.global_config.disable_pypi_version_check = True
root.global_config.max_retries = 0
root.global_config.max_retries_connect = 0

E = os.environ
requests: list[list[object]] = []
send = httpx2.AsyncClient.send


async def recording_send(self, request, **kwargs):
    body = b"" if request.method == "PUT" else await request.aread()
    if request.headers.get("content-encoding") == "gzip" and body:
        body = gzip.decompress(body)
    path = request.url.raw_path.decode().split("?")[0].replace(f"/api/v1/projects/{E['CDF_PROJECT']}", "")
    query = sorted(request.url.params.multi_items())
    if request.method == "PUT" or "/files/download" in path or "/files/upload" in path:
        path, query = "<storage>", []
    requests.append([request.method, path, query, json.loads(body) if body else None])
    return await send(self, request, **kwargs)


httpx2.AsyncClient.send = recording_send


def config(**changes):
    provider = credentials.OAuthClientCredentials(
        E["IDP_TOKEN_URL"], E["IDP_CLIENT_ID"], E["IDP_CLIENT_SECRET"], E["IDP_SCOPES"].split()
    )
    settings = {"base_url": E["CDF_URL"], "credentials": provider, **changes}
    return root.ClientConfig("parity", E["CDF_PROJECT"], **settings)


client = root.CogniteClient(config())
SCENARIOS = {}


def scenario(work):
    SCENARIOS[work.__name__] = work
    return work


def shown(value):
    if hasattr(value, "dump"):
        return [type(value).__name__, value.dump()]
    if isinstance(value, dict):
        return {str(key): shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value


def error_of(work):
    """The kind of error, and for errors of the API all that it tells."""
    try:
        return {"no error": shown(work())}
    except Exception as error:
        told = {
            name: shown(getattr(error, name))
            for name in ("code", "message", "missing", "duplicated", "failed", "successful", "unknown", "skipped")
            if hasattr(error, name)
        }
        if not hasattr(error, "x_request_id"):
            # Words of the client itself, not of the server.
            told.pop("message", None)
        for name in ("project", "maybe_projects", "cluster", "not_found"):
            if hasattr(error, name):
                told[name] = shown(getattr(error, name))
        return {"raises": type(error).__name__, **told}


def handle(client, data, secrets, function_call_info):
    """Adds.

    [requirements]
    [/requirements]
    """
    print("adding")
    print(sorted(data))
    if "boom" in data:
        raise ValueError(data["boom"])
    return {"sum": data.get("a", 0) + data.get("b", 0), "secrets": secrets, "known": sorted(function_call_info)}


state = {}


def function():
    if "function" not in state:
        state["function"] = client.functions.retrieve(external_id="parity")
    return state["function"]


@scenario
def project():
    return [client.functions.status(), client.functions.limits(), client.functions.activate()]


@scenario
def create_from_handle():
    made = client.functions.create(
        "parity / one",
        function_handle=handle,
        external_id="parity",
        description="d",
        owner="o",
        secrets={"key": "value"},
        env_vars={"A": "1"},
        cpu=1.0,
        memory=1.5,
        metadata={"camelCase": "1"},
    )
    deadline = time.monotonic() + 100
    while made.status in ("Queued", "Deploying") and time.monotonic() < deadline:
        time.sleep(0.1)
        made.update()
    requests[:] = [one for index, one in enumerate(requests) if one[1] != "/functions/byids"]
    return [made.status, made.error, sorted(made.dump())]


@scenario
def create_with_bad_arguments():
    async def plain(data): ...

    def other(data): ...

    def wrong(x): ...

    wrong.__name__ = "handle"

    def picky(data):
        """
        [requirements]
        not a requirement!
        [/requirements]
        """

    picky.__name__ = "handle"
    create = client.functions.create
    return [
        error_of(lambda: create("n")),
        error_of(lambda: create("n", folder="x", file_id=1)),
        error_of(lambda: create("n", function_handle=other)),
        error_of(lambda: create("n", function_handle=wrong)),
        error_of(lambda: create("n", function_handle=picky)["message"]),
        error_of(lambda: create("n", file_id=1, cpu=1)),
        error_of(lambda: create("n", file_id=1, memory="1")),
        error_of(lambda: create()),
    ]


@scenario
def create_from_bad_folders():
    results = {}
    bodies = {
        "no handle": "def other(data): ...",
        "nested handle": "if True:\n    def handle(data): ...",
        "async handle": "async def handle(data): ...",
        "wrong arguments": "def handle(data, more): ...",
        "unknown import": "import no_such_module\ndef handle(data): ...",
        "no syntax": "def handle(data:",
        "exits": "import sys\ndef handle(data): ...\nraise KeyError('k')",
    }
    for name, body in bodies.items():
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "handler.py").write_text(body)
            results[name] = error_of(lambda folder=folder: client.functions.create("n", folder=folder))
    with tempfile.TemporaryDirectory() as folder:
        results["empty"] = error_of(lambda: client.functions.create("n", folder=folder))
        results["not python"] = error_of(lambda: client.functions.create("n", folder=folder, function_path="x.txt"))
    results["no folder"] = error_of(lambda: client.functions.create("n", folder="/no/such/folder"))
    return results


@scenario
def create_from_folder_and_file():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "src").mkdir()
        Path(folder, "src", "main.py").write_text("from src.other import handle as work\nhandle = work\n")
        Path(folder, "src", "other.py").write_text("def handle(data):\n    return data\n")
        made = client.functions.create("folder", folder=folder, function_path="src/main.py")
    again = client.functions.create(
        "file", file_id=made.file_id, function_path="src/main.py", skip_folder_validation=True
    )
    written = client.functions.create(functions.FunctionWrite("written", made.file_id, "parity-w", metadata={"m": "1"}))
    ids = [made.id, again.id, written.id]
    found = client.functions.retrieve_multiple(ids=ids)
    client.functions.delete(id=ids[:2], external_id="parity-w")
    return [found.as_ids() == ids, [one.function_path for one in found], written.as_write()]


@scenario
def create_twice():
    return error_of(lambda: client.functions.create("again", file_id=function().file_id, external_id="parity"))


@scenario
def retrieve():
    known = function()
    return [
        client.functions.retrieve(id=known.id) == known,
        client.functions.retrieve(external_id="no such"),
        client.functions.retrieve(id=987654321),
        error_of(lambda: client.functions.retrieve()),
        error_of(lambda: client.functions.retrieve(id=1, external_id="x")),
        error_of(lambda: client.functions.retrieve(id="1")),
        error_of(lambda: client.functions.retrieve(external_id=1)),
    ]


@scenario
def retrieve_multiple():
    known = function()
    return [
        client.functions.retrieve_multiple(ids=[known.id]).as_external_ids(),
        client.functions.retrieve_multiple(
            external_ids=["parity", "no such"], ignore_unknown_ids=True
        ).as_external_ids(),
        error_of(lambda: client.functions.retrieve_multiple(ids=[known.id, 987654321], external_ids=["no such"])),
        error_of(lambda: client.functions.retrieve_multiple(ids=987654321)),
        client.functions.retrieve_multiple(),
    ]


@scenario
def list_functions():
    known = function()
    listing = client.functions.list
    return [
        listing(external_id_prefix="pari").as_external_ids(),
        listing(name="parity / one", owner="o", status="Ready", file_id=known.file_id).as_external_ids(),
        listing(metadata={"camelCase": "1"}, limit=None).as_external_ids(),
        listing(created_time={"min": known.created_time}, limit=-1).as_external_ids(),
        listing(created_time=classes.TimestampRange(max=known.created_time - 1), external_id_prefix="parity"),
        listing(limit=float("inf"), external_id_prefix="parity").as_external_ids(),
        [one.name for one in client.functions(external_id_prefix="parity")],
        [chunk.as_external_ids() for chunk in client.functions(chunk_size=2, external_id_prefix="parity")],
        type(listing(limit=1)).__name__,
        error_of(lambda: listing(status="Nonsense")),
        error_of(lambda: listing(limit=0)),
    ]


def without_waiting():
    """Drops the requests by which a client waits: each does that in its own way."""
    requests[:] = [one for one in requests if not re.search(r"/calls/(byids|\d+)$", str(one[1]))]


@scenario
def call():
    made = client.functions.call(external_id="parity", data={"a": 1, "b": 2})
    without_waiting()
    log = made.get_logs()
    return [made.status, sorted(made.dump()), made.get_response(), log.to_text(), [sorted(one.dump()) for one in log]]


@scenario
def call_that_fails():
    made = function().call(data={"boom": "it broke"})
    without_waiting()
    return [made.status, made.error["message"], "Traceback" in made.error["trace"], made.get_response()]


@scenario
def call_without_waiting():
    made = function().call(wait=False)
    made.wait()
    without_waiting()
    made.update()
    return [made.status, made.get_response()]


@scenario
def call_with_nonce():
    session = client.iam.sessions.create(session_type="ONESHOT_TOKEN_EXCHANGE")
    made = client.functions.call(id=function().id, nonce=session.nonce)
    without_waiting()
    return [made.status, error_of(lambda: client.functions.call(id=function().id, nonce=session.nonce))]


@scenario
def call_with_bad_arguments():
    use = client.functions.call
    return [
        error_of(lambda: use()),
        error_of(lambda: use(id=1, external_id="x")),
        error_of(lambda: use(external_id="no such")),
        error_of(lambda: use(id=987654321)),
        error_of(lambda: use(id=function().id, data={"x": float("nan")})),
        error_of(lambda: use(id=function().id, data={"x": object()})),
    ]


@scenario
def calls():
    known = function()
    listing = client.functions.calls.list
    newest = listing(function_id=known.id, limit=1)[0]
    use = client.functions.calls
    return [
        len(listing(function_external_id="parity", status="Failed")),
        len(known.list_calls(status="Completed", limit=2)),
        len(listing(function_id=known.id, limit=None)) == len(listing(function_id=known.id, limit=-1)),
        len(listing(function_id=known.id, schedule_id=1)),
        len(listing(function_id=known.id, start_time={"max": 1}, end_time={"min": 1})),
        use.retrieve(newest.id, function_id=known.id) == newest,
        known.retrieve_call(newest.id) == newest,
        use.retrieve(987654321, function_external_id="parity"),
        use.get_response(newest.id, function_external_id="parity"),
        error_of(lambda: use.retrieve(newest.id)),
        error_of(lambda: use.retrieve(newest.id, function_id=1, function_external_id="x")),
        error_of(lambda: use.retrieve(newest.id, function_external_id="no such")),
        error_of(lambda: use.get_response(987654321, function_id=known.id)),
        error_of(lambda: use.get_logs(987654321, function_id=known.id)),
        error_of(lambda: listing()),
        error_of(lambda: listing(function_id=known.id, limit=0)),
        error_of(lambda: listing(function_id=known.id, limit="x")),
        error_of(lambda: listing(function_id=known.id, status="Nonsense")),
    ]


@scenario
def schedules():
    known = function()
    use = client.functions.schedules
    first = use.create("first", "0 8 * * *", function_id=known.id, description="d", data={"camelCase": 1})
    own = classes.ClientCredentials(E["IDP_CLIENT_ID"], E["IDP_CLIENT_SECRET"])
    as_dict = {"client_id": E["IDP_CLIENT_ID"], "client_secret": E["IDP_CLIENT_SECRET"]}
    second = use.create(
        functions.FunctionScheduleWrite("second", "*/5 * * * *", function_id=known.id), client_credentials=own
    )
    third = use.create("third", "0 8 * * *", function_external_id="parity", client_credentials=as_dict)
    seen = [
        sorted(first.dump()),
        first.when,
        second.when,
        first.get_input_data(),
        second.get_input_data(),
        third.function_id == known.id,
        first.as_write().dump(),
        use.retrieve(first.id) == first,
        use.retrieve(987654321),
        len(use.retrieve([first.id, second.id])),
        len(use.retrieve([first.id, 987654321], ignore_unknown_ids=True)),
        error_of(lambda: use.retrieve([first.id, 987654321])),
        [one.name for one in use.list(function_id=known.id)],
        [one.name for one in use.list(cron_expression="0 8 * * *", function_external_id="parity", limit=None)],
        [one.name for one in known.list_schedules(limit=1)],
        [one.name for one in use(name="second")],
        [len(chunk) for chunk in use(chunk_size=2, function_id=known.id)],
    ]
    for one in (first, second, third):
        use.delete(one.id)
    return [*seen, error_of(lambda: use.delete(first.id)), error_of(lambda: use.get_input_data(first.id))]


@scenario
def schedules_with_bad_arguments():
    use = client.functions.schedules
    known = function()
    return [
        error_of(lambda: use.create("n", function_id=known.id)),
        error_of(lambda: use.create("n", "0 8 * * *")),
        error_of(lambda: use.create("n", "0 8 * * *", function_id=1, function_external_id="x")),
        error_of(lambda: use.create("n", "0 8 * * *", function_external_id="no such")),
        error_of(lambda: use.create("n", "nonsense", function_id=known.id)),
        error_of(lambda: use.list(function_id=1, function_external_id="x")),
    ]


@scenario
def files():
    use = client.files
    text = use.upload_bytes(
        "text", name="parity.txt", external_id="parity-t", mime_type="text/plain", metadata={"a": "b"}
    )
    raw = use.upload_bytes(io.BytesIO(b"raw"), name="parity.bin")
    seen = [
        sorted(text.dump()),
        use.retrieve(external_id="parity-t").uploaded,
        use.download_bytes(external_id="parity-t"),
        use.download_bytes(id=raw.id),
        use.retrieve(external_id="no such"),
        len(use.retrieve_multiple(ids=[text.id, raw.id])),
        len(use.retrieve_multiple(external_ids=["parity-t", "no such"], ignore_unknown_ids=True)),
        error_of(lambda: use.retrieve_multiple(external_ids=["no such"])),
        error_of(lambda: use.retrieve(id=1, external_id="x")),
        error_of(lambda: use.upload_bytes(b"", name="n", external_id="parity-t")),
        error_of(lambda: use.upload_bytes(io.StringIO("x"), name="n")),
        error_of(lambda: use.upload_bytes(3, name="n")),
        error_of(lambda: use.upload("/no/such/path")),
        error_of(lambda: use.download("/no/such/folder", id=raw.id)),
        error_of(lambda: use.download_bytes(external_id="no such")),
        sorted(str(key) == "parity-t" for key in use.retrieve_download_urls(external_id=["parity-t"])),
    ]
    over = use.upload_bytes(b"new", name="parity.txt", external_id="parity-t", overwrite=True)
    seen += [over.id == text.id, use.download_bytes(id=over.id)]
    with tempfile.TemporaryDirectory() as folder:
        use.download(folder, id=[text.id, raw.id])
        use.download_to_path(Path(folder, "one"), id=raw.id)
        seen.append(sorted((one.name, one.read_text()) for one in Path(folder).iterdir()))
    use.delete(id=[text.id, raw.id])
    use.delete(external_id="no such", ignore_unknown_ids=True)
    return [*seen, error_of(lambda: use.delete(external_id="no such"))]


@scenario
def files_in_parts():
    use = client.files
    with use.multipart_upload_session("parity.parts", parts=2, external_id="parity-p") as session:
        session.upload_part(0, b"a" * 6_000_000)
        session.upload_part(1, b"end")
    whole = use.download_bytes(external_id="parity-p")
    with use.multipart_upload_content_session(parts=1, external_id="parity-p") as again:
        again.upload_part(0, b"other")
    seen = [len(whole), whole[-4:], use.download_bytes(external_id="parity-p"), type(again).__name__]
    renewed = use.upload_content_bytes("third", external_id="parity-p")
    seen += [renewed.id == session.file_metadata.id, use.download_bytes(external_id="parity-p")]

    def incomplete():
        with use.multipart_upload_session("n", parts=2) as broken:
            broken.upload_part(0, b"x")

    seen.append(error_of(incomplete))
    use.delete(external_id="parity-p")
    return seen


@scenario
def files_from_paths():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "one.txt").write_text("one")
        Path(folder, "two.txt").write_text("two")
        single = client.files.upload(Path(folder, "one.txt"), external_id="parity-u", metadata={"a": "b"})
        several = client.files.upload(folder)
        content = client.files.download_bytes(external_id="parity-u")
    ids = [single.id, *several.as_ids()]
    found = client.files.retrieve_multiple(ids=ids)
    client.files.delete(id=ids)
    # A small file goes in one request less: docs/sdk/differences.md.
    requests.clear()
    return [single.name, single.metadata, content, sorted(one.name for one in found), [one.uploaded for one in found]]


@scenario
def sessions():
    use = client.iam.sessions
    one, two, three = (
        use.create(),
        use.create(session_type="TOKEN_EXCHANGE"),
        use.create(session_type="oneshot_token_exchange"),
    )
    found = use.retrieve(one.id)
    seen = [
        [sorted(made.dump()) for made in (one, two, three)],
        [made.type for made in (one, two, three)],
        sorted(found.dump()),
        [type(use.retrieve([one.id, two.id])).__name__, len(use.retrieve([one.id, two.id]))],
        len(use.list(limit=2)),
        type(use.list(status="READY", limit=1)).__name__,
        use.revoke(one.id).status,
        [made.status for made in use.revoke([two.id, three.id])],
        error_of(lambda: use.create(session_type="NONSENSE")),
        error_of(lambda: use.retrieve([one.id, 987654321])),
    ]
    return seen


@scenario
def token():
    found = client.iam.token.inspect()
    granted = [
        (type(one.capability).__name__, sorted(act.value for act in one.capability.actions))
        for one in found.capabilities
    ]
    return [
        found.subject,
        [project.url_name for project in found.projects],
        sorted(granted),
        found.dump()["capabilities"][0],
    ]


@scenario
def raw_requests():
    return [
        client.get(
            f"/api/v1/projects/{E['CDF_PROJECT']}/functions/status".replace("/api/v1", E["CDF_URL"] + "/api/v1")
        ).json(),
        client.post(f"{E['CDF_URL']}/api/v1/projects/{E['CDF_PROJECT']}/functions/list", json={"limit": 1}).status_code,
        error_of(lambda: client.get(f"{E['CDF_URL']}/api/v1/projects/{E['CDF_PROJECT']}/no/such/route")),
    ]


@scenario
def refused():
    wrong = root.CogniteClient(config(credentials=credentials.Token("wrong")))
    nowhere = root.CogniteClient(config(base_url="http://127.0.0.1:9", credentials=credentials.Token("x")))
    unknown = credentials.OAuthClientCredentials(E["IDP_TOKEN_URL"], "nobody", "secret", None)
    return [
        error_of(wrong.functions.list),
        error_of(nowhere.functions.list),
        error_of(root.CogniteClient(config(credentials=unknown)).functions.list),
        error_of(lambda: root.ClientConfig("n", "", credentials.Token("x"), base_url="http://localhost")),
        error_of(lambda: root.ClientConfig("n", "p", credentials.Token("x"))),
        error_of(lambda: credentials.Token(3)),
        error_of(lambda: credentials.OAuthClientCredentials("u", "i", "s", None, grant_type="x")),
        error_of(lambda: credentials.CredentialProvider.load({"nonsense": {}})),
        error_of(lambda: root.global_config.apply_settings({"nonsense": 1})),
    ]


@scenario
def asynchronous():
    async def work():
        use = root.AsyncCogniteClient(config())
        made = await use.functions.call(external_id="parity", data={"a": 3})
        listed = [one.name async for one in use.functions(external_id_prefix="parity")]
        many = await asyncio.gather(*(use.functions.call(id=made.function_id, data={"a": n}) for n in range(5)))
        answers = [(await one.get_response_async())["sum"] for one in many]
        known = await use.functions.retrieve(external_id="parity")
        await known.update_async()
        calls = await known.list_calls_async(limit=2)
        return [made.status, listed, answers, len(calls), (await calls[0].get_logs_async()).to_text()]

    result = asyncio.run(work())
    requests.clear()
    return result


@scenario
def inside_a_running_loop():
    async def work():
        return client.functions.status()

    return asyncio.run(work())


@scenario
def delete():
    known = function()
    file_id = known.file_id
    return [
        error_of(lambda: client.functions.delete(id=[known.id, 987654321])),
        client.functions.retrieve(id=known.id) is not None,
        client.functions.delete(external_id="parity"),
        client.functions.retrieve(id=known.id),
        error_of(lambda: client.functions.delete(external_id="parity")),
        error_of(lambda: client.functions.delete()),
        client.files.delete(id=file_id),
    ]


class Words:
    """Ids by order of appearance, times and secrets as words."""

    def __init__(self):
        self.ids = {}

    def __call__(self, value, key=""):
        if isinstance(value, dict):
            return {name: self(item, name) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self(item, key) for item in value]
        if key in ("nonce", "clientSecret", "uploadId") or (
            isinstance(value, str) and re.fullmatch(r"[\w-]{40,}", value)
        ):
            return "<secret>"
        if isinstance(value, bool):
            return value
        if isinstance(value, int) and value > 10**12:
            return "<ms>"
        if isinstance(value, int) and value > 1000 and value != 987654321:
            return f"<id {self.ids.setdefault(value, len(self.ids))}>"
        if isinstance(value, str):
            return re.sub(r"\b(?!987654321)\d{4,}\b", lambda found: self(int(found[0])), value)
        return value


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    outcome = {}
    for name, work in SCENARIOS.items():
        requests.clear()
        words = Words()
        try:
            result = shown(work())
        except Exception as error:
            import traceback

            result = {"the scenario itself failed": type(error).__name__, "trace": traceback.format_exc()}
        outcome[name] = {"result": words(result), "requests": words([list(one) for one in requests])}
    json.dump(outcome, answers)
    answers.flush()
