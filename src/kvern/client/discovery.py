"""Which server a client without a config is for: what the environment says, else the default profile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from kvern.client.config import ClientConfig, user_name
from kvern.client.credentials import CredentialProvider, OAuthClientCredentials, Token
from kvern.client.profiles import profiles_path, read_profiles

DEFAULT_PROJECT = "kvern"
TOKEN_PATH = "/oauth2/token"  # noqa: S105


def found_config(environment: Mapping[str, str] | None = None) -> ClientConfig:
    """The config of the first of these that is there:

    1. `KVERN_URL`, with `KVERN_PROJECT` and either `KVERN_TOKEN` or `KVERN_CLIENT_ID` and `KVERN_CLIENT_SECRET` (with
       `KVERN_TOKEN_URL` and `KVERN_SCOPES` where the server does not issue its own tokens)
    2. `KVERN_PROFILE`, the name of a profile
    3. `CDF_URL` or `CDF_CLUSTER`, with `CDF_PROJECT`, `LOGIN_FLOW`, and the variables of that flow
    4. the default profile

    Args:
        environment: The variables; those of the process if not given.

    Raises:
        ValueError: when none of them is there, or a variable is missing.
        KeyError: when there is no profile of that name.
    """
    env = os.environ if environment is None else environment
    if env.get("KVERN_URL"):
        return _kvern(env)
    if env.get("KVERN_PROFILE"):
        return read_profiles().get(env["KVERN_PROFILE"]).config(env.get("KVERN_CLIENT_NAME"))
    if env.get("CDF_URL") or env.get("CDF_CLUSTER"):
        return _cdf(env)
    profiles = read_profiles()
    if profiles.default is not None:
        return profiles.get(profiles.default).config(env.get("KVERN_CLIENT_NAME"))
    raise ValueError(
        "No server is known. Give a ClientConfig, set global_config.default_client_config, set KVERN_URL (or CDF_URL) "
        f"and its like in the environment, or run `kvern login`, which writes {profiles_path()}"
    )


def _kvern(env: Mapping[str, str]) -> ClientConfig:
    url = env["KVERN_URL"].rstrip("/")
    if env.get("KVERN_TOKEN"):
        credentials: CredentialProvider = Token(env["KVERN_TOKEN"])
    elif env.get("KVERN_CLIENT_ID"):
        credentials = OAuthClientCredentials(
            token_url=env.get("KVERN_TOKEN_URL") or url + TOKEN_PATH,
            client_id=env["KVERN_CLIENT_ID"],
            client_secret=_needed(env, "KVERN_CLIENT_SECRET", "KVERN_CLIENT_ID"),
            scopes=(env.get("KVERN_SCOPES") or "").split() or None,
        )
    else:
        raise ValueError("KVERN_URL needs KVERN_TOKEN, or KVERN_CLIENT_ID and KVERN_CLIENT_SECRET, beside it")
    return ClientConfig(
        client_name=env.get("KVERN_CLIENT_NAME") or user_name(),
        project=env.get("KVERN_PROJECT") or DEFAULT_PROJECT,
        credentials=credentials,
        base_url=url,
    )


def _cdf(env: Mapping[str, str]) -> ClientConfig:
    cluster = env.get("CDF_CLUSTER")
    return ClientConfig(
        client_name=env.get("KVERN_CLIENT_NAME") or user_name(),
        project=_needed(env, "CDF_PROJECT", "CDF_URL or CDF_CLUSTER"),
        credentials=_cdf_credentials(env, cluster),
        base_url=env.get("CDF_URL") or f"https://{cluster}.cognitedata.com",
    )


def _cdf_credentials(env: Mapping[str, str], cluster: str | None) -> CredentialProvider:
    flow = (env.get("LOGIN_FLOW") or ("token" if env.get("CDF_TOKEN") else "client_credentials")).lower()
    tenant = env.get("IDP_TENANT_ID")
    authority = env.get("IDP_AUTHORITY_URL") or (f"https://login.microsoftonline.com/{tenant}" if tenant else None)
    scopes = (env.get("IDP_SCOPES") or "").replace(",", " ").split()
    if not scopes and tenant and cluster:
        scopes = [f"https://{cluster}.cognitedata.com/.default"]
    if flow == "token":
        return Token(_needed(env, "CDF_TOKEN", "LOGIN_FLOW=token"))
    if flow == "client_credentials":
        custom: dict[str, Any] = {"audience": env["IDP_AUDIENCE"]} if env.get("IDP_AUDIENCE") else {}
        token_url = env.get("IDP_TOKEN_URL") or (f"{authority}/oauth2/v2.0/token" if tenant else None)
        return OAuthClientCredentials(
            token_url=token_url or _needed(env, "IDP_TOKEN_URL", "LOGIN_FLOW=client_credentials"),
            client_id=_needed(env, "IDP_CLIENT_ID", "LOGIN_FLOW=client_credentials"),
            client_secret=_needed(env, "IDP_CLIENT_SECRET", "LOGIN_FLOW=client_credentials"),
            scopes=scopes or None,
            **custom,
        )
    if flow in ("interactive", "device_code"):
        from kvern.client.device_code import OAuthDeviceCode
        from kvern.client.interactive import OAuthInteractive

        client_id = _needed(env, "IDP_CLIENT_ID", f"LOGIN_FLOW={flow}")
        authority = authority or _needed(env, "IDP_AUTHORITY_URL", f"LOGIN_FLOW={flow}")
        if flow == "interactive":
            return OAuthInteractive(authority, client_id, scopes)
        return OAuthDeviceCode(authority, client_id, scopes)
    raise ValueError(
        f"Expected LOGIN_FLOW to be token, client_credentials, interactive or device_code, got {env['LOGIN_FLOW']!r}"
    )


def _needed(env: Mapping[str, str], name: str, because_of: str) -> str:
    value = env.get(name)
    if not value:
        raise ValueError(f"{because_of} needs {name} in the environment beside it")
    return value
