"""The environment, read once and strictly: a typo or a bad value stops the program instead of being ignored.

`load_settings` lays the process environment over a `.env` file (`variables.py`) and returns frozen `Settings`, or
raises `SettingsError` with one line for each problem. Every command builds its settings here; nothing else reads the
environment. Neighbours: `setting_values.py` checks single values; `logs.py` and `wiring.py` take what they need.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from contactsync.runtime.setting_values import (
    Bind,
    BreakerLimit,
    Domains,
    FieldNames,
    FieldValues,
    Finite,
    FirstSync,
    HttpRoot,
    HttpUrl,
    Lower,
    NatsUrls,
    Port,
    Region,
    SecretKeys,
    Sender,
    SmtpUrl,
    Supervisor,
    Zone,
    is_loopback,
    split_bind,
)
from contactsync.runtime.variables import PREFIX, VariablesSource, read_variables, variable_of
from contactsync_contracts.messages import Limit, NewContactDefaults

__all__ = ["METRICS_PORTS", "PREFIX", "Settings", "SettingsError", "load_settings", "split_bind"]

METRICS_PORTS: Final[Mapping[str, int]] = {
    "up": 9100,
    "planfix-watcher": 9101,
    "google-watcher": 9102,
    "reconciler": 9103,
    "writer": 9104,
    "gateway": 9105,
}


class SettingsError(Exception):
    """`problems`: one line each: the variable, what is wrong, an example; values are never repeated."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(BaseSettings):
    """Every variable of the interface (without its prefix, in lower case). Secrets never show in `repr`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False
    )

    def __init__(self, variables: Mapping[str, str]) -> None:
        """From these variables alone (full name to text), whatever the process's environment is."""
        super().__init__(variables=variables)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The library's own sources would read more than was given, and know nothing of typos."""
        return (VariablesSource(settings_cls, init_settings()["variables"]),)

    nats_url: Annotated[NatsUrls | None, Field(examples=["nats://127.0.0.1:4222"])] = None
    nats_creds: Annotated[Path | None, Field(examples=["/run/secrets/contactsync.creds"])] = None
    nats_tls_ca: Annotated[Path | None, Field(examples=["/run/secrets/nats-ca.pem"])] = None
    data_dir: Annotated[Path, Field(examples=["./data"])] = Path("data")

    planfix_url: Annotated[HttpRoot | None, Field(examples=["https://acme.planfix.com/rest/"])] = None
    planfix_token: Annotated[SecretStr | None, Field(examples=["0123456789abcdef0123456789abcdef"])] = None
    planfix_requests_per_second: Annotated[NonNegativeFloat, Finite, Field(examples=["1"])] = 1.0
    planfix_requests_per_day: Annotated[NonNegativeInt, Field(examples=["20000"])] = 20_000
    planfix_timezone: Annotated[Zone | None, Field(examples=["Europe/Warsaw"])] = None
    planfix_stamp_field: Annotated[PositiveInt | None, Field(examples=["1234"])] = None

    google_client_id: Annotated[str | None, Field(examples=["123-abc.apps.googleusercontent.com"])] = None
    google_client_secret: Annotated[SecretStr | None, Field(examples=["GOCSPX-…"])] = None
    google_people_url: Annotated[HttpRoot, Field(examples=["https://people.googleapis.com/"])] = (
        "https://people.googleapis.com/"
    )
    google_auth_url: Annotated[HttpUrl, Field(examples=["https://accounts.google.com/o/oauth2/v2/auth"])] = (
        "https://accounts.google.com/o/oauth2/v2/auth"
    )
    google_token_url: Annotated[HttpUrl, Field(examples=["https://oauth2.googleapis.com/token"])] = (
        "https://oauth2.googleapis.com/token"
    )
    google_revoke_url: Annotated[HttpUrl, Field(examples=["https://oauth2.googleapis.com/revoke"])] = (
        "https://oauth2.googleapis.com/revoke"
    )
    google_userinfo_url: Annotated[HttpUrl, Field(examples=["https://openidconnect.googleapis.com/v1/userinfo"])] = (
        "https://openidconnect.googleapis.com/v1/userinfo"
    )
    google_critical_reads_per_minute: Annotated[NonNegativeInt, Field(examples=["60"])] = 60
    google_critical_writes_per_minute: Annotated[NonNegativeInt, Field(examples=["30"])] = 30
    google_writes_per_minute: Annotated[NonNegativeInt, Field(examples=["30"])] = 30
    google_group_reads_per_minute: Annotated[NonNegativeInt, Field(examples=["90"])] = 90
    google_daily_writes: Annotated[NonNegativeInt, Field(examples=["100000"])] = 100_000
    google_list_lag_seconds: Annotated[NonNegativeFloat, Finite, Field(examples=["300"])] = 300.0
    google_allowed_domains: Annotated[
        Domains,
        Field(examples=["acme.com,acme.org"]),
    ] = ()

    first_sync: Annotated[FirstSync, Field(examples=["auto"])] = "auto"
    public_url: Annotated[HttpRoot, Field(examples=["http://127.0.0.1:8080/"])] = "http://127.0.0.1:8080/"
    http_bind: Annotated[Bind | None, Field(examples=["0.0.0.0:8080"])] = None
    secret_keys: Annotated[
        SecretKeys,
        Field(examples=["the output of: openssl rand -hex 32"]),
    ] = ()
    webhook_secret: Annotated[SecretStr | None, Field(examples=["the output of: openssl rand -hex 16"])] = None
    admin_token: Annotated[SecretStr | None, Field(examples=["the output of: openssl rand -hex 16"])] = None
    operator_sees_contacts: Annotated[bool, Field(examples=["false"])] = False
    notice_webhook_url: Annotated[HttpUrl | None, Field(examples=["https://chat.acme.com/hooks/contactsync"])] = None
    notice_webhook_secret: Annotated[SecretStr | None, Field(examples=["the output of: openssl rand -hex 16"])] = None
    smtp_url: Annotated[SmtpUrl | None, Field(examples=["smtp://user:password@mail.acme.com:587"])] = None
    notice_from: Annotated[Sender | None, Field(examples=["Contactsync <contactsync@acme.com>"])] = None

    poll_planfix_seconds: Annotated[PositiveFloat, Finite, Field(examples=["60"])] = 60.0
    poll_google_seconds: Annotated[PositiveFloat, Finite, Field(examples=["60"])] = 60.0
    full_scan_seconds: Annotated[PositiveFloat, Finite, Field(examples=["3600"])] = 3600.0

    new_contact_template: Annotated[PositiveInt | None, Field(examples=["1"])] = None
    new_contact_group: Annotated[PositiveInt | None, Field(examples=["7"])] = None
    new_contact_fields: Annotated[
        FieldValues,
        Field(examples=['{"10": "From Google"}']),
    ] = {}
    new_contact_supervisor: Annotated[Supervisor, Field(examples=["owner"])] = "owner"
    custom_fields: Annotated[
        FieldNames,
        Field(examples=['{"10": "Contract number"}']),
    ] = {}
    default_region: Annotated[Region, Field(examples=["US"])] = "US"

    conflict: Annotated[Literal["newest", "planfix", "google"], Lower, Field(examples=["newest"])] = "newest"
    breaker_remove: Annotated[BreakerLimit, Field(examples=["10,10"])] = Limit(least=10, percent=10)
    breaker_update: Annotated[BreakerLimit, Field(examples=["100,30"])] = Limit(least=100, percent=30)
    breaker_create: Annotated[BreakerLimit, Field(examples=["100,50"])] = Limit(least=100, percent=50)
    idle_contacts_kept: Annotated[NonNegativeInt, Field(examples=["0"])] = 25_000
    history_days: Annotated[PositiveInt, Field(examples=["90"])] = 90

    log_level: Annotated[Literal["debug", "info", "warning", "error"], Lower, Field(examples=["info"])] = "info"
    log_format: Annotated[Literal["console", "json"] | None, Lower, Field(examples=["json"])] = None
    metrics_port: Annotated[Port | None, Field(examples=["9100"])] = None

    @property
    def planfix_account(self) -> str:
        """Stable short text of the Planfix account for stamps, such as `acme.planfix.com`.

        Host and path in lower case without the final `rest` and without the port.
        """
        parts = urlsplit((self.planfix_url or "").lower())
        path = re.sub(r"(^|/)rest/*$", "", parts.path.strip("/"))
        text = "/".join(part for part in (parts.hostname or "", path.strip("/")) if part)
        return re.sub(r"[^a-z0-9._-]+", "-", text).strip("-")

    @property
    def bind(self) -> tuple[str, int]:
        """Where the gateway listens: host and port."""
        if self.http_bind is not None:
            return split_bind(self.http_bind)
        parts = urlsplit(self.public_url)
        host = parts.hostname or ""
        if is_loopback(host):
            return host, parts.port or (443 if parts.scheme == "https" else 80)
        return "0.0.0.0", 8080

    @property
    def metrics_host(self) -> str:
        """Where `/metrics` of each service listens: on loopback exactly when the gateway does."""
        return self.bind[0]

    @property
    def new_contact(self) -> NewContactDefaults:
        """What a contact created in Planfix gets unless its filter says otherwise."""
        return NewContactDefaults(
            template=self.new_contact_template,
            group=self.new_contact_group,
            custom_fields=dict(self.new_contact_fields),
            supervisor=self.new_contact_supervisor,
        )

    def metrics_port_of(self, service: str) -> int:
        """Port of `/metrics` of a service (`planfix-watcher`, …) or of `up`."""
        return self.metrics_port if self.metrics_port is not None else METRICS_PORTS[service]

    def planfix_access(self) -> tuple[str, SecretStr]:
        """REST base (ends with a slash) and token. Raises SettingsError naming what is not set."""
        self.require("planfix_url", "planfix_token")
        assert self.planfix_url is not None
        assert self.planfix_token is not None
        return self.planfix_url, self.planfix_token

    def google_client(self) -> tuple[str, SecretStr]:
        """OAuth client id and secret. Raises SettingsError naming what is not set."""
        self.require("google_client_id", "google_client_secret")
        assert self.google_client_id is not None
        assert self.google_client_secret is not None
        return self.google_client_id, self.google_client_secret

    def require(self, *names: str) -> None:
        """Raises SettingsError with a line for each of these fields that is not set."""
        missing = [name for name in names if getattr(self, name) in (None, (), "")]
        if missing:
            raise SettingsError(tuple(_line(name, "is needed here and not set") for name in missing))


def load_settings(env: Mapping[str, str], dotenv: Path | None = Path(".env")) -> Settings:
    """The environment over the `.env` file (which may be absent). An empty value counts as not set.

    Raises SettingsError with one line for each malformed value, unknown variable and unreadable line.
    """
    problems: list[str] = []
    variables = read_variables(env, dotenv, problems, _unknown)
    try:
        settings = Settings(variables)
    except ValidationError as error:
        problems.extend(_malformed(error))
    else:
        if not problems:
            return settings
    raise SettingsError(tuple(dict.fromkeys(problems)))


def _unknown(variable: str) -> str | None:
    known = [variable_of(name) for name in Settings.model_fields]
    if variable in known:
        return None
    near = difflib.get_close_matches(variable.upper(), known, n=1)
    example = near[0] if near else f"{PREFIX}PLANFIX_URL"
    name = example.removeprefix(PREFIX).lower()
    return f"{variable}: there is no such setting; example: {example}={_example(name)}"


def _malformed(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        why: Any = problem["msg"]
        yield _line(name, str(why).removeprefix("Value error, ").removeprefix("Input ").removesuffix("."))


def _line(name: str, why: str) -> str:
    variable = variable_of(name)
    return f"{variable}: {why}; example: {variable}={_example(name)}"


def _example(name: str) -> str:
    examples = Settings.model_fields[name].examples or [""]
    return str(examples[0])
