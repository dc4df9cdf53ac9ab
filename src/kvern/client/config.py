"""How a client reaches its server: settings of one client, and settings of the whole process."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

from kvern.client.concurrency import ConcurrencySettings
from kvern.client.documents import load_mapping
from kvern.client.redaction import redacted, redacted_headers

if TYPE_CHECKING:
    import ssl

    from kvern.client.credentials import CredentialProvider

API_SUBVERSION = "20230101"
"""The version of the contract that the client speaks, sent as `cdf-version`."""

_COGNITE_HOST = re.compile(r"https?://(?:[^/.\s]*\.plink\.)?([^/.\s]+)\.cognitedata\.com(?::\d+)?(?:/|$)")
_COUNTS = ("max_retries", "max_retries_connect", "max_retry_backoff")
_SIZES = ("max_connection_pool_size",)
_CHUNKS = ("file_download_chunk_size", "file_upload_chunk_size")


class GlobalConfig:
    """Settings of the whole process; set them before the first client is made.

    Attributes:
        default_client_config: What a client uses that is made without a config.
        disable_gzip: Send JSON bodies uncompressed.
        disable_pypi_version_check: Accepted for compatibility; this client never asks for newer versions.
        status_forcelist: HTTP statuses after which a request that may be repeated is sent again.
        max_retries: How often a request is repeated at most.
        max_retries_connect: How often a connection is tried again at most.
        max_retry_backoff: Seconds between two tries at most.
        max_connection_pool_size: Connections that are kept open at most.
        disable_ssl: Accept any certificate.
        ssl_context: Certificates to trust, and everything else about TLS.
        proxy: URL of a proxy for all traffic; the usual environment variables count too.
        follow_redirects: Follow redirects.
        file_download_chunk_size: Bytes that are written at a time while downloading.
        file_upload_chunk_size: Bytes that are sent at a time while uploading.
        silence_feature_preview_warnings: Accepted for compatibility.
        concurrency_settings: How many requests are under way at most.
    """

    _made = False

    def __init__(self) -> None:
        if GlobalConfig._made:
            raise TypeError("There is one GlobalConfig in a process: import `global_config` and set its attributes")
        GlobalConfig._made = True
        self.default_client_config: ClientConfig | None = None
        self.disable_gzip = False
        self.disable_pypi_version_check = False
        self.status_forcelist: set[int] = {429, 502, 503, 504}
        self.max_retries = 10
        self.max_retries_connect = 3
        self.max_retry_backoff = 60
        self.max_connection_pool_size = 20
        self.disable_ssl = False
        self.ssl_context: ssl.SSLContext | None = None
        self.proxy: str | None = None
        self.follow_redirects = False
        self.file_download_chunk_size: int | None = None
        self.file_upload_chunk_size: int | None = None
        self.silence_feature_preview_warnings = False
        self._concurrency_settings = ConcurrencySettings()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _COUNTS and not _is_count(value, 0):
            raise ValueError(f"Expected {name} to be an integer of 0 or more, got {value!r}")
        if name in _SIZES and not _is_count(value, 1):
            raise ValueError(f"Expected {name} to be an integer of 1 or more, got {value!r}")
        if name in _CHUNKS and value is not None and not _is_count(value, 1):
            raise ValueError(f"Expected {name} to be an integer of 1 or more, or None, got {value!r}")
        if name == "ssl_context" and value is not None:
            import ssl

            if not isinstance(value, ssl.SSLContext):
                raise TypeError(f"Expected ssl_context to be an ssl.SSLContext or None, got {type(value).__name__}")
        super().__setattr__(name, value)

    @property
    def concurrency_settings(self) -> ConcurrencySettings:
        """How many requests are under way at most; change its parts, it cannot be replaced."""
        return self._concurrency_settings

    @property
    def max_workers(self) -> int:
        """Without effect; see `concurrency_settings`."""
        return self.concurrency_settings.general.read

    @max_workers.setter
    def max_workers(self, value: int) -> None:
        warnings.warn("max_workers has no effect: set global_config.concurrency_settings", FutureWarning, stacklevel=2)

    def __str__(self) -> str:
        import pprint

        return pprint.pformat(self._settings(), indent=4)

    def _repr_html_(self) -> str:
        return _settings_html(self._settings())

    def _settings(self) -> dict[str, Any]:
        return {name.lstrip("_"): value for name, value in vars(self).items()}

    def apply_settings(self, settings: dict[str, Any] | str) -> None:
        """Sets several attributes at once, or none of them.

        Args:
            settings: A dictionary of attributes, or such a one as JSON (or, with PyYAML, YAML) text.

        Raises:
            ValueError: for unknown attributes and invalid values; nothing is set then.
        """
        wanted = dict(load_mapping(settings))
        wanted.pop("max_workers", None)
        known = {name for name in vars(self) if not name.startswith("_")} - {"ssl_context"}
        if not wanted.keys() <= known:
            raise ValueError(
                f"Unknown settings {sorted(wanted.keys() - known)}; nothing was set. Known: {sorted(known)}"
            )
        default = wanted.get("default_client_config")
        if default is not None and not isinstance(default, ClientConfig):
            wanted["default_client_config"] = ClientConfig.load(default)
        before = {name: getattr(self, name) for name in wanted}
        try:
            for name, value in wanted.items():
                setattr(self, name, value)
        except (TypeError, ValueError):
            for name, value in before.items():
                setattr(self, name, value)
            raise


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


global_config: GlobalConfig = GlobalConfig()


class ClientConfig:
    """How one client reaches its server.

    Args:
        client_name: What your program is called, sent with every request.
        project: Name of the project.
        credentials: Where the token comes from.
        api_subversion: Sent as `cdf-version`.
        base_url: Address of the server, such as `http://localhost:8000`. This or `cluster` is needed.
        cluster: A Cognite cluster; the address is then `https://<cluster>.cognitedata.com`.
        headers: Headers to send with every request.
        timeout: Seconds that an answer may take; 60 if not given.
        file_transfer_timeout: Seconds that an upload or download may take; 600 if not given.
        debug: Log every request to stderr, with secrets hidden.

    Raises:
        ValueError: without a project, or with neither `base_url` nor `cluster`.
    """

    def __init__(
        self,
        client_name: str,
        project: str,
        credentials: CredentialProvider,
        api_subversion: str = API_SUBVERSION,
        base_url: str | None = None,
        cluster: str | None = None,
        headers: dict[str, str] | None = None,
        timeout: int | None = None,
        file_transfer_timeout: int | None = None,
        debug: bool = False,
    ) -> None:
        if not project:
            raise ValueError(f"Expected the name of a project, got {project!r}")
        self.client_name = client_name
        self.project = project
        self.credentials = credentials
        self.api_subversion: str = api_subversion or API_SUBVERSION
        self.base_url: str
        self.base_url, self._cluster = _address(base_url, cluster)
        self.headers: dict[str, str] = headers or {}
        self.timeout: int = timeout or 60
        self.file_transfer_timeout: int = file_transfer_timeout or 600
        if debug:
            self.debug = True

    @property
    def debug(self) -> bool:
        """Whether every request is logged to stderr; holds for all clients of the process."""
        from kvern.client.debugging import is_debugging

        return is_debugging()

    @debug.setter
    def debug(self, value: bool) -> None:
        from kvern.client.debugging import set_debugging

        set_debugging(value)

    @property
    def cdf_cluster(self) -> str | None:
        """The Cognite cluster, if the address tells one."""
        if self._cluster is not None:
            return self._cluster
        match = _COGNITE_HOST.match(self.base_url)
        return match[1] if match else None

    def __str__(self) -> str:
        import pprint

        return pprint.pformat(self._settings(), indent=4)

    def __repr__(self) -> str:
        return f"<ClientConfig project={self.project!r}, base_url={self.base_url!r}>"

    def _repr_html_(self) -> str:
        return _settings_html(self._settings())

    def _settings(self) -> dict[str, Any]:
        return {**redacted(vars(self)), "headers": redacted_headers(self.headers)}

    @classmethod
    def default(
        cls, project: str, cdf_cluster: str, credentials: CredentialProvider, client_name: str | None = None
    ) -> ClientConfig:
        """The usual settings for a Cognite cluster.

        Args:
            project: Name of the project.
            cdf_cluster: Name of the cluster.
            credentials: Where the token comes from.
            client_name: What your program is called; the name of the user if not given.
        """
        return cls(
            client_name=client_name or user_name(),
            project=project,
            credentials=credentials,
            base_url=f"https://{cdf_cluster}.cognitedata.com",
        )

    @classmethod
    def load(cls, config: dict[str, Any] | str) -> ClientConfig:
        """Makes a config from its arguments.

        Args:
            config: A dictionary of the arguments, or such a one as JSON (or, with PyYAML, YAML) text. `credentials` may
                be a dictionary as `CredentialProvider.load` takes it.

        Example:
            >>> config = ClientConfig.load(
            ...     {
            ...         "client_name": "example",
            ...         "project": "kvern",
            ...         "base_url": "http://localhost:8000",
            ...         "credentials": {"token": "secret"},
            ...     }
            ... )
        """
        from kvern.client.credentials import CredentialProvider

        loaded = load_mapping(config)
        credentials = loaded["credentials"]
        if not isinstance(credentials, CredentialProvider):
            credentials = CredentialProvider.load(credentials)
        return cls(
            client_name=loaded["client_name"],
            project=loaded["project"],
            credentials=credentials,
            api_subversion=loaded.get("api_subversion") or API_SUBVERSION,
            base_url=loaded.get("base_url"),
            cluster=loaded.get("cluster"),
            headers=loaded.get("headers"),
            timeout=loaded.get("timeout"),
            file_transfer_timeout=loaded.get("file_transfer_timeout"),
            debug=loaded.get("debug", False),
        )


def user_name() -> str:
    """Whoever runs the process, or `kvern` where that cannot be told."""
    import getpass

    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return "kvern"


def _address(base_url: str | None, cluster: str | None) -> tuple[str, str | None]:
    if base_url is not None and cluster is not None:
        warnings.warn(
            "Both base_url and cluster are given: base_url is used, cluster ignored", FutureWarning, stacklevel=3
        )
    if base_url is not None:
        return base_url.rstrip("/"), None
    if cluster is not None:
        return f"https://{cluster}.cognitedata.com", cluster
    raise ValueError("Expected base_url (such as http://localhost:8000) or cluster, got neither")


def _settings_html(settings: dict[str, Any]) -> str:
    from html import escape

    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(str(settings[key]))}</td></tr>" for key in sorted(settings))
    return f"<table>{rows}</table>"
