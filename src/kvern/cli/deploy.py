"""`kvern deploy`: from a folder to a function that can be called."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from cyclopts import Parameter

from kvern.cli import bundle, connection, inputs, output
from kvern.cli.complaint import Complaint
from kvern.cli.options import DEFAULT, Options

if TYPE_CHECKING:
    from kvern.client import CogniteClient
    from kvern.client.data_classes.functions import Function, FunctionSchedule, RunTime

_POLL = 0.2  # seconds


def deploy(
    path: Path,
    /,
    *,
    name: str | None = None,
    external_id: str | None = None,
    function_path: str | None = None,
    runtime: str | None = None,
    secret: tuple[str, ...] = (),
    secret_file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    env: tuple[str, ...] = (),
    description: str | None = None,
    owner: str | None = None,
    metadata: tuple[str, ...] = (),
    cpu: float | None = None,
    memory: float | None = None,
    index_url: str | None = None,
    extra_index_url: tuple[str, ...] = (),
    wait: Annotated[bool, Parameter(negative="--no-wait")] = True,
    options: Options = DEFAULT,
) -> int:
    """Deploy a folder, a .zip or a single .py file as a function.

    A function that has the external id already is replaced; its schedules are made again, its calls are gone. What the
    code needs stands in `requirements.txt` at the top of the folder; for a single file, in the docstring of `handle`
    between the lines `[requirements]` and `[/requirements]`.

    For example:

        kvern deploy examples/trend
        kvern deploy examples/outliers.py --external-id co2-outliers
        kvern deploy bundle.zip --name "Pump report" --function-path src/main.py
        kvern deploy quality --secret-file secrets.env --runtime py312

    Args:
        path: What to deploy. Of a folder, names that begin with a dot and `__pycache__` stay behind.
        name: What people call it. Default: the folder's or the file's name.
        external_id: What programs call it. Default: the name.
        function_path: The file with `handle`, as a path in the folder. Default: handler.py.
        runtime: The Python that it runs on, such as py312. Default: the service's.
        secret: KEY=VALUE for `secrets`; again for more. Other users of this machine may see it: see `--secret-file`.
        secret_file: File of secrets: a line KEY=VALUE each, or a JSON object; - reads standard input.
        env: KEY=VALUE for the environment of the function; again for more.
        description: What it does.
        owner: Who answers for it.
        metadata: KEY=VALUE to keep with the function; again for more.
        cpu: Cores that a call may use.
        memory: Memory that a call may use, in GB.
        index_url: Package index to build from, in place of the service's.
        extra_index_url: One more package index; again for more.
        wait: Wait until it is built.
    """
    packed = bundle.pack(path, function_path)
    called = name or packed.name
    external_id = external_id or called
    secrets = {**(inputs.secret_file(secret_file) if secret_file else {}), **inputs.pairs(secret, "--secret")}
    env_vars = inputs.pairs(env, "--env")
    facts = inputs.pairs(metadata, "--metadata")

    client = connection.connect(options)
    # Uploaded before the old one goes: a broken connection then breaks nothing.
    file = client.files.upload_bytes(
        packed.content, name=f"{called.replace('/', '-')}.zip", external_id=external_id, overwrite=True
    )
    old = client.functions.retrieve(external_id=external_id)
    schedules = list(client.functions.schedules.list(function_id=old.id, limit=None)) if old else []
    inputs_of = {one.id: client.functions.schedules.get_input_data(one.id) for one in schedules}
    if old:
        client.functions.delete(id=old.id)
    function = client.functions.create(
        name=called,
        file_id=file.id,
        function_path=packed.handler,
        external_id=external_id,
        description=description,
        owner=owner,
        secrets=secrets or None,
        env_vars=env_vars or None,
        cpu=cpu,
        memory=memory,
        runtime=cast("RunTime | None", runtime),  # the service knows which there are
        metadata=facts or None,
        index_url=index_url,
        extra_index_urls=list(extra_index_url) or None,
    )
    for schedule in schedules:
        _again(client, schedule, function, inputs_of[schedule.id])
    if wait:
        function = _until_built(client, function, silent=options.json)
    _tell(function, replaced=old is not None, schedules=len(schedules), as_json=options.json)
    return 1 if function.status == "Failed" else 0


def _again(
    client: CogniteClient, schedule: FunctionSchedule, function: Function, data: dict[str, object] | None
) -> None:
    """Make a schedule of the replaced function once more; a function takes its schedules along when it goes."""
    client.functions.schedules.create(
        name=schedule.name,
        cron_expression=schedule.cron_expression,
        function_id=function.id,
        description=schedule.description,
        data=data,
    )


def _until_built(client: CogniteClient, function: Function, *, silent: bool) -> Function:
    begun = time.monotonic()
    with output.Progress(silent=silent) as progress:
        while function.status not in ("Ready", "Failed"):
            progress.show(
                f"{function.external_id}: {function.status}", output.duration((time.monotonic() - begun) * 1000)
            )
            time.sleep(_POLL)
            latest = client.functions.retrieve(id=function.id)
            if latest is None:
                raise Complaint(f"{function.external_id} was deleted while it was built")
            function = latest
        progress.show(f"{function.external_id}: {function.status} after {time.monotonic() - begun:.1f} s")
    return function


def _tell(function: Function, *, replaced: bool, schedules: int, as_json: bool) -> None:
    if as_json:
        output.as_json(function.dump())
        return
    what = "replaced" if replaced else "new"
    if schedules:
        what += f", {schedules} {'schedule' if schedules == 1 else 'schedules'} made again"
    if function.status == "Failed":
        error = function.error or {}
        output.note(f"kvern: {function.external_id} could not be built: {error.get('message', 'no reason was given')}")
        if error.get("trace"):
            output.note(str(error["trace"]).rstrip())
        return
    on = f" on {function.runtime_version}" if function.runtime_version else ""
    print(f"{function.external_id} is {function.status}{on} ({what}, id {function.id})")
    if function.status == "Ready":
        output.note(f"Call it: kvern call {function.external_id} --data '{{}}'")
