"""`kvern deploy`: from a folder to a function that can be called."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kvern.cli import bundle, connection, endurance, inputs, output, policies
from kvern.cli.build_log import BuildLog
from kvern.cli.complaint import Complaint
from kvern.cli.endurance import Endurance
from kvern.cli.options import DEFAULT, Options

if TYPE_CHECKING:
    from kvern.client import CogniteClient
    from kvern.client.data_classes.functions import Function

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
    bears: Endurance = endurance.NONE,
    options: Options = DEFAULT,
) -> int:
    """Deploy a folder, a .zip or a single .py file as a function.

    What the code needs stands in `requirements.txt` at the top of the folder; for a single file, in the docstring of
    `handle` between the lines `[requirements]` and `[/requirements]`. A function that has the external id already is
    replaced once the new one is built; its schedules are made again as they were, its retries and its soft deadline are
    kept unless they are given, its calls are gone. When the new one cannot be built, the old one stays.

    For example:

        kvern deploy examples/trend
        kvern deploy examples/outliers.py --external-id co2-outliers
        kvern deploy bundle.zip --name "Pump report" --function-path src/main.py
        kvern deploy quality --secret-file secrets.env --runtime py312
        kvern deploy quality --attempts 5 --retry-on raised --retry-on "timed out" --soft-deadline 20

    Args:
        path: What to deploy. Of a folder, names that begin with a dot, `__pycache__` and what is ignored stay behind.
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
    for sentence in packed.notes:
        output.note(f"kvern: {sentence}")
    called = name or packed.name
    external_id = external_id or called
    secrets = {**(inputs.secret_file(secret_file) if secret_file else {}), **inputs.pairs(secret, "--secret")}
    env_vars = inputs.pairs(env, "--env")
    facts = inputs.pairs(metadata, "--metadata")

    client = connection.connect(options)
    file = client.files.upload_bytes(
        packed.content, name=f"{called.replace('/', '-')}.zip", external_id=external_id, overwrite=True
    )

    old = client.functions.retrieve(external_id=external_id)
    more = bears.over(endurance.of_function(client, old.id) if old else {})

    settings: dict[str, Any] = {
        "name": called,
        "file_id": file.id,
        "function_path": packed.handler,
        "description": description,
        "owner": owner,
        "secrets": secrets or None,
        "env_vars": env_vars or None,
        "cpu": cpu,
        "memory": memory,
        "runtime": runtime,  # the service knows which there are
        "metadata": facts or None,
        "index_url": index_url,
        "extra_index_urls": list(extra_index_url) or None,
    }

    def create(external_id: str | None) -> Function:
        if not more:
            return client.functions.create(external_id=external_id, **settings)
        return endurance.create(client, more, external_id=external_id, **settings)

    with output.Progress(silent=options.json) as progress:
        build = _Build(client, external_id, progress)
        if old is None:
            function, schedules = create(external_id), 0
            function = build.wait(function) if wait else function
        else:
            function, schedules = _replace(client, old, create, build if wait else None)
    took = build.took if wait else None
    _tell(function, external_id, replaced=old, schedules=schedules, took=took, as_json=options.json)
    return 1 if function.status == "Failed" else 0


def _replace(
    client: CogniteClient, old: Function, create: Callable[[str | None], Function], build: _Build | None
) -> tuple[Function, int]:
    """Put a new function in the place of `old`. A function cannot be changed, only deleted (contract 3.2).

    So the new one is made on trial first, without the external id: when its settings are refused or it cannot be built,
    the old one stays as it is. What was built on trial is there already when it is made again.

    Returns:
        The new function, or the one on trial if it failed; and how many schedules were made again.
    """
    trial = create(None)
    try:
        if build:
            trial = build.wait(trial)
            if trial.status == "Failed":
                return trial, 0
        schedules = policies.of_function(client, old.id)
        client.functions.delete(id=old.id)  # and its schedules with it
        function = create(old.external_id)
        for one in schedules:
            policies.create_again(client, one, function.id)
        return (build.wait(function) if build else function), len(schedules)
    finally:
        client.functions.delete(id=trial.id)


class _Build:
    """Waiting for functions to be built, and showing what their builds say."""

    def __init__(self, client: CogniteClient, called: str, progress: output.Progress) -> None:
        self._client = client
        self._called = called
        self._progress = progress
        self._begun = time.monotonic()

    @property
    def took(self) -> str:
        return output.duration((time.monotonic() - self._begun) * 1000)

    def wait(self, function: Function) -> Function:
        log = BuildLog(self._client, function.id)
        while function.status not in ("Ready", "Failed"):
            self._progress.show(f"{self._called}: {function.status}", self.took)
            begun = time.monotonic()
            told = self._show(log, wait=True)
            if not told and not log.has_ended:
                # A service that held nothing back is not to be asked all the time.
                time.sleep(max(0.0, _POLL - (time.monotonic() - begun)))
            latest = self._client.functions.retrieve(id=function.id)
            if latest is None:
                raise Complaint(f"{self._called} was deleted while it was built")
            function = latest
        self._show(log, wait=False)
        return function

    def _show(self, log: BuildLog, *, wait: bool) -> bool:
        """Show what is new; whether something was."""
        lines = log.read(wait=wait)
        for line in lines:
            self._progress.line(f"  {line['message']}")
        return bool(lines)


def _tell(
    function: Function, called: str, *, replaced: Function | None, schedules: int, took: str | None, as_json: bool
) -> None:
    if as_json:
        output.as_json(function.dump())
        return
    if function.status == "Failed":
        error = function.error or {}
        output.note(f"kvern: {called} could not be built: {error.get('message', 'no reason was given')}")
        if error.get("trace"):
            output.note(str(error["trace"]).rstrip())
        if replaced:
            output.note(f"The function that was there stays as it is (id {replaced.id}).")
        return
    what = "replaced" if replaced else "new"
    if schedules:
        what += f", {schedules} {'schedule' if schedules == 1 else 'schedules'} made again"
    on = f" on {function.runtime_version}" if function.runtime_version else ""
    after = f" after {took}" if took else ""
    output.say(f"{called} is {function.status}{on}{after} ({what}, id {function.id})")
    if function.status == "Ready":
        output.note(f"Call it: kvern call {called} --data '{{}}'")
