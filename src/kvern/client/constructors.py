"""Making clients, of either kind, from less than a whole config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvern.client.config import ClientConfig
from kvern.client.credentials import OAuthClientCredentials

if TYPE_CHECKING:
    from typing_extensions import Self

    from kvern.client.credentials import CredentialProvider, InteractivePrompt


class MadeFromSettings:
    """A client, which is made from a config.

    Args:
        config: How the server is reached.
    """

    def __init__(self, config: ClientConfig | None = None) -> None:
        raise NotImplementedError

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            text = f"{type(self).__name__} has no attribute {name!r}"
            if not name.startswith("_"):
                text += ": kvern.client speaks the APIs functions, files and iam"
            raise AttributeError(text)

    @property
    def version(self) -> str:
        """The version of this package."""
        from kvern import __version__

        return __version__

    @classmethod
    def default(
        cls, project: str, cdf_cluster: str, credentials: CredentialProvider, client_name: str | None = None
    ) -> Self:
        """A client for a Cognite cluster with the usual settings.

        Args:
            project: Name of the project.
            cdf_cluster: Name of the cluster.
            credentials: Where the token comes from.
            client_name: What your program is called; the name of the user if not given.
        """
        return cls(ClientConfig.default(project, cdf_cluster, credentials, client_name))

    @classmethod
    def default_oauth_client_credentials(
        cls,
        project: str,
        cdf_cluster: str,
        tenant_id: str,
        client_id: str,
        client_secret: str,
        client_name: str | None = None,
    ) -> Self:
        """A client for a Cognite cluster, as an application of Microsoft Entra ID.

        Args:
            project: Name of the project.
            cdf_cluster: Name of the cluster.
            tenant_id: The tenant.
            client_id: Id of the application.
            client_secret: Its secret.
            client_name: What your program is called; the name of the user if not given.
        """
        credentials = OAuthClientCredentials.default_for_entra_id(tenant_id, client_id, client_secret, cdf_cluster)
        return cls.default(project, cdf_cluster, credentials, client_name)

    @classmethod
    def default_oauth_interactive(
        cls,
        project: str,
        cdf_cluster: str,
        tenant_id: str,
        client_id: str,
        client_name: str | None = None,
        prompt: InteractivePrompt | None = None,
        login_hint: str | None = None,
    ) -> Self:
        """A client for a Cognite cluster, as a person who logs in at Microsoft Entra ID by browser.

        Args:
            project: Name of the project.
            cdf_cluster: Name of the cluster.
            tenant_id: The tenant.
            client_id: Id of the application.
            client_name: What your program is called; the name of the user if not given.
            prompt: What the browser asks: `select_account`, `login` or `consent`.
            login_hint: The account to log in with.
        """
        from kvern.client.interactive import OAuthInteractive

        credentials = OAuthInteractive.default_for_entra_id(
            tenant_id, client_id, cdf_cluster, prompt=prompt, login_hint=login_hint
        )
        return cls.default(project, cdf_cluster, credentials, client_name)

    @classmethod
    def load(cls, config: dict[str, Any] | str) -> Self:
        """A client from the arguments of its config.

        Args:
            config: As `ClientConfig.load` takes it.

        Example:
            >>> config = {
            ...     "client_name": "example",
            ...     "project": "kvern",
            ...     "base_url": "http://localhost:8000",
            ...     "credentials": {"token": "secret"},
            ... }
            >>> client = CogniteClient.load(config)
        """
        return cls(ClientConfig.load(config))
