"""The settings of a service: one definition for flags, `KVERN_*` variables and `kvern.toml`, in that order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
"""Contract 1.1."""

_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")

_DATABASE = re.compile(r"postgres(ql)?://")

_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]+(/[^\s?#]*)?")


def check_project(name: str) -> str:
    """The name itself. Raises `ValueError` unless a project may be called so (contract 1.1)."""
    if not _PROJECT.fullmatch(name) or not any(letter.isalpha() for letter in name):
        raise ValueError(
            "Expected a project name of 3 to 32 letters, digits and hyphens, with a letter, and no hyphen first "
            f"or last; given {name!r}"
        )
    return name


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Each field is a flag (`--data-dir`), a variable (`KVERN_DATA_DIR`) and a key of `kvern.toml` (`data-dir`).

    Args:
        host: address to listen on.
        port: TCP port to listen on; 0 takes a free one.
        max_connections: connections that clients may have at a time; fewer where the machine lets a process have fewer
            files open.
        head_seconds: within which a client must have sent the whole head of a request, in seconds.
        body_seconds: within which more of a body must come, in seconds.
        answer_seconds: within which a client must take more of an answer, in seconds.
        read_seconds: after which a list or a search in the database is given up, in seconds.
        data_dir: folder that holds everything the service keeps; made when it is not there.
        database: `postgresql://user@host/name`, with a password in the variable or the file only. Default: SQLite, in
            the data folder.
        blobs: where files' bytes and bundles are: a folder (`/mnt/kvern` or `file:///mnt/kvern`), which servers can
            share that have it mounted, or `s3://bucket/prefix`, with address and keys from `AWS_*`. Default: the data
            folder.
        project: name of the project that clients use.
        without_lost_secrets: start although the master key does not open all secrets; functions whose secrets are lost
            become Failed.
        public_url: base URL under which clients reach the service, such as `https://functions.plant.example`. Upload
            and download links begin with it. Default: what each client itself used.
        sandbox: `auto` takes bubblewrap where it works; `bubblewrap` refuses to start without it; `plain` is no wall.
        network: `none` cuts functions off from every network, this service included; `egress-list` lets them reach this
            service and what is on that list, through a proxy. Both need the sandbox.
        egress: what functions may reach, such as `api.example.com:443`, `*.example.com` or `10.1.0.0/16`.
        workers_per_function: processes that one function may have at a time; further calls wait. 0 = by cores.
        call_grace_ms: longest time for which the answer to a call is held back to tell its end state; 0 = never.
        call_error: how a call's error is shown: `object`, `string`, or `auto` (a string to the Toolkit only).
        upstream: base URL of a cloud cluster to which every path of a project is passed on that Kvern does not serve.
        upstream_project: name of the project there, when it is another one.
        timeout_minutes: time limit of a call, in minutes.
        data_limit_mb: largest `data` of a call, in MB.
        response_size_mb: largest response of a call, in MB.
        log_limit_mb: log kept of one call, in MB.
        file_limit_mb: largest file, in MB.
        upload_link_hours: within which an upload must begin after its link was asked for, in hours; 168 at most.
        max_functions: functions in a project.
        max_schedules: schedules in a project.
        max_function_schedules: schedules of one function.
        max_calls: running calls in a project.
        max_function_calls: running calls of one function.
        cpu_min: fewest cores that a function gets.
        cpu_max: most cores that a function may ask for.
        cpu_default: cores of a function that does not ask.
        memory_min: least memory that a function gets, in GB.
        memory_max: most memory that a function may ask for, in GB.
        memory_default: memory of a function that does not ask, in GB.
        index_url: package index for builds, in place of the one that uv, pip.conf or the environment name.
        extra_index_url: further package indexes for builds.
        build_cache: folder of uv's cache. Default: uv's own.
        builds: builds that run at the same time. Of further ones projects take turns, and a project that has none
            running does not wait: for such there are as many again.
        source_builds: whether packages may be built from source, in the sandbox; off, every requirement must be there
            as a wheel.
        build_network: `none` keeps what builds packages from source off the network, whatever functions reach; their
            sources and what they need are downloaded before. `allow` lets it reach what functions reach, and can be set
            with `network` = `allow` only.
        build_timeout_minutes: time limit of a build, in minutes.
        build_memory: memory of a build from source, in GB.
        unused_build_hours: for how long the packages of deleted functions are kept for the next deploy, in hours.
        lock_minutes: for how long the resolution of the same requirements is used again, in minutes.
        drain_seconds: how long a service that was told to stop waits for running calls, in seconds.
        lease_seconds: where several servers share a database, how long after its last heartbeat a server is taken for
            dead, in seconds.
        heartbeat_seconds: time between two heartbeats, in seconds.
        retention_days: days for which calls, their logs and responses, and the ledger of schedules are kept.
        retention_gb: when the database holds more than this, the oldest calls that ended go before their time, in GB;
            0 = never. With SQLite.
        log_level: what the service writes to its own log.
        log_format: `text` for people, or `json`: one object a line.
        access_log: whether each answer gets a line in that log.
        metrics_port: TCP port on which `/metrics` is given to everybody, with all projects; 0 takes a free one.
            Default: none; clients get it with a token on the service's own port.
        metrics_host: address of that port.
        otlp_endpoint: base URL of an OpenTelemetry collector to which traces are sent, such as http://127.0.0.1:4318.
            Default: what `OTEL_EXPORTER_OTLP_ENDPOINT` says; none without it.
        disk_free_mb: with less than this free on the disk of the data folder the service is not ready, in MB.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_connections: int = 2000
    head_seconds: float = 15
    body_seconds: float = 30
    answer_seconds: float = 60
    read_seconds: float = 10
    data_dir: Path = Path(".kvern")
    database: str | None = field(default=None, repr=False)
    blobs: str | None = None
    project: str = "kvern"
    without_lost_secrets: bool = False
    public_url: str | None = None
    sandbox: Literal["auto", "bubblewrap", "plain"] = "auto"
    network: Literal["allow", "none", "egress-list"] = "allow"
    egress: tuple[str, ...] = ()
    workers_per_function: int = 0
    call_grace_ms: int = 100
    call_error: Literal["auto", "object", "string"] = "auto"
    upstream: str | None = None
    upstream_project: str | None = None
    timeout_minutes: float = 10
    data_limit_mb: float = 9
    response_size_mb: float = 1
    log_limit_mb: float = 10
    file_limit_mb: float = 5000
    upload_link_hours: float = 24
    max_functions: int = 100
    max_schedules: int = 1000
    max_function_schedules: int = 100
    max_calls: int = 250
    max_function_calls: int = 100
    cpu_min: float = 0.1
    cpu_max: float = 3.0
    cpu_default: float = 1.0
    memory_min: float = 0.1
    memory_max: float = 5.0
    memory_default: float = 1.5
    index_url: str | None = None
    extra_index_url: tuple[str, ...] = ()
    build_cache: Path | None = None
    builds: int = 2
    source_builds: bool = True
    build_network: Literal["none", "allow"] = "none"
    build_timeout_minutes: float = 20
    build_memory: float = 4.0
    unused_build_hours: float = 24
    lock_minutes: float = 10
    drain_seconds: float = 10
    lease_seconds: float = 5
    heartbeat_seconds: float = 1
    retention_days: float = 90
    retention_gb: float = 0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    access_log: bool = False
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    otlp_endpoint: str | None = None
    disk_free_mb: float = 200

    def __post_init__(self) -> None:
        """Raises `ValueError` for a value that no service can work with."""
        check_project(self.project)
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, int | float) and not (value >= 0 and value < float("inf")):
                raise ValueError(f"Expected a number from 0 as {one.name}, given {value}")
        for port in (self.port, self.metrics_port):
            if port is not None and port > 65_535:
                raise ValueError(f"Expected a port from 0 to 65535, given {port}")
        if self.database is not None and not _DATABASE.match(self.database):  # not shown: it may hold a password
            raise ValueError("Expected a database such as postgresql://user@host/name, given another kind of address")
        if self.blobs is not None and not _BUCKET.fullmatch(self.blobs) and self.blobs_folder is None:
            raise ValueError(
                f"Expected a place for blobs such as s3://bucket/prefix or file:///mnt/kvern, given {self.blobs!r}"
            )
        if self.public_url is not None and not _URL.fullmatch(self.public_url):
            raise ValueError(f"Expected a URL such as https://functions.plant.example, given {self.public_url!r}")
        if self.otlp_endpoint is not None and not _URL.fullmatch(self.otlp_endpoint):
            raise ValueError(f"Expected a URL such as http://127.0.0.1:4318, given {self.otlp_endpoint!r}")
        for name in (
            "max_connections",
            "head_seconds",
            "body_seconds",
            "answer_seconds",
            "read_seconds",
            "timeout_minutes",
            "data_limit_mb",
            "response_size_mb",
            "upload_link_hours",
            "builds",
            "build_timeout_minutes",
            "build_memory",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"Expected more than 0 as {name}, given {getattr(self, name)}")
        if self.build_network == "allow" and self.network != "allow":
            raise ValueError(f"Expected none as build_network while network is {self.network}, given allow")
        if not 0 < self.heartbeat_seconds * 3 <= self.lease_seconds:
            raise ValueError(
                "Expected a lease_seconds of three times heartbeat_seconds or more, "
                f"given {self.lease_seconds} and {self.heartbeat_seconds}"
            )
        for what in ("cpu", "memory"):
            least, default, most = (getattr(self, f"{what}_{part}") for part in ("min", "default", "max"))
            if not 0 < least <= default <= most:
                raise ValueError(
                    f"Expected {what}_min <= {what}_default <= {what}_max, given {least}, {default}, {most}"
                )

    @property
    def blobs_folder(self) -> Path | None:
        """The folder that `blobs` names; None when it names something else or nothing."""
        if self.blobs is None:
            return None
        parts = urlsplit(self.blobs)
        if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
            return Path(unquote(parts.path))
        return Path(self.blobs) if self.blobs and "://" not in self.blobs and parts.scheme != "file" else None

    def megabytes(self, figure: float) -> int:
        """A figure in MB as bytes (1 MB = 1,000,000 bytes, as the contract counts)."""
        return int(figure * 1_000_000)
