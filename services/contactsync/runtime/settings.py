"""The environment, read once and strictly: a typo or a bad value stops the program instead of being ignored.

`load_settings` lays the process environment over a `.env` file and returns frozen `Settings`, or raises
`SettingsError` with one line for each problem. Every command builds its settings here; nothing else reads the
environment. Neighbours: `runtime/logs.py` and the composition roots take what they need from it.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from dotenv.parser import parse_stream
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
)

from contactsync_contracts.messages import NewContactDefaults

PREFIX: Final = "CONTACTSYNC_"

METRICS_PORTS: Final[Mapping[str, int]] = {
    "up": 9100,
    "planfix-watcher": 9101,
    "google-watcher": 9102,
    "reconciler": 9103,
    "writer": 9104,
    "gateway": 9105,
}

TESTS_ONLY: Final = frozenset({"SHARED", "SEED"})
"""Names that tests read and the program ignores."""

# Kubernetes announces every Service of the namespace to every pod; one named contactsync-* has our prefix.
_SERVICE_LINK: Final = re.compile(
    r"(_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT_\d+_(TCP|UDP)(_[A-Z]+)?)$"
)


class SettingsError(Exception):
    """`problems`: one line each: the variable, what is wrong, an example; values are never repeated."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _url(*schemes: str) -> AfterValidator:
    def check(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"must be an address that starts with {' or '.join(s + '://' for s in schemes)}")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must have no user, password, query or fragment")
        _ = parts.port  # raises ValueError when it is no port
        return value

    return AfterValidator(check)


def _with_slash(value: str) -> str:
    return value if value.endswith("/") else value + "/"


def _nats_url(value: str) -> str:
    for one in value.split(","):
        parts = urlsplit(one.strip())
        if parts.scheme not in ("nats", "tls", "ws", "wss") or not parts.hostname:
            raise ValueError("must be addresses that start with nats://, tls://, ws:// or wss://")
    return value


def _listed(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _json_object(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except ValueError as error:
        raise ValueError("must be a JSON object") from error
    if not isinstance(found, dict):
        raise ValueError("must be a JSON object")
    return {key: _json_text(one) for key, one in found.items()}


def _json_text(value: object) -> object:
    """Numbers and truth values as the text that Planfix takes; anything nested stays and fails."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case _:
            return value


def _field_numbers(value: dict[str, str]) -> dict[str, str]:
    for key in value:
        if not (key.isascii() and key.isdigit() and int(key) > 0):
            raise ValueError("its keys must be numbers of Planfix custom fields")
    return value


def _google_names(value: dict[str, str]) -> dict[str, str]:
    names = [name.strip() for name in value.values()]
    if not all(names) or len(set(names)) != len(names):
        raise ValueError("its values must be names, each used once")
    return dict(zip(value, names, strict=True))


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("must be the name of a time zone") from error
    return value


def _region(value: str) -> str:
    region = value.upper()
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("must be the two letters of a country")
    return region


def _domain(value: str) -> str:
    domain = value.lower().removeprefix("@")
    if not re.fullmatch(r"[^\s@/:.]+(\.[^\s@/:.]+)+", domain):
        raise ValueError("must be domains")
    return domain


def _bind(value: str) -> str:
    host, port = split_bind(value)
    if not host or not 0 <= port <= 65535:
        raise ValueError("must be host:port")
    return value


def _supervisor(value: str) -> str:
    if value in ("owner", "none") or (value.isascii() and value.isdigit() and int(value) > 0):
        return value
    raise ValueError("must be owner, none or the number of an employee")


def _secret_key(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < 32:
        raise ValueError("each key must have at least 32 characters")
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def split_bind(value: str) -> tuple[str, int]:
    """`host:port`, `[v6]:port` or `:port` (all addresses). Raises ValueError."""
    host, colon, port = value.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()):
        raise ValueError("must be host:port")
    return host.strip("[]") or "0.0.0.0", int(port)


HttpUrl = Annotated[str, _url("http", "https")]
HttpRoot = Annotated[str, _url("http", "https"), AfterValidator(_with_slash)]
Port = Annotated[int, Field(ge=1, le=65535)]
Finite = Field(allow_inf_nan=False)


class Settings(BaseModel):
    """Every variable of the interface (without its prefix, in lower case). Secrets never show in `repr`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    nats_url: Annotated[
        Annotated[str, AfterValidator(_nats_url)] | None, Field(examples=["nats://127.0.0.1:4222"])
    ] = None
    nats_creds: Annotated[Path | None, Field(examples=["/run/secrets/contactsync.creds"])] = None
    nats_tls_ca: Annotated[Path | None, Field(examples=["/run/secrets/nats-ca.pem"])] = None
    data_dir: Annotated[Path, Field(examples=["./data"])] = Path("data")

    planfix_url: Annotated[HttpRoot | None, Field(examples=["https://acme.planfix.com/rest/"])] = None
    planfix_token: Annotated[SecretStr | None, Field(examples=["0123456789abcdef0123456789abcdef"])] = None
    planfix_requests_per_second: Annotated[NonNegativeFloat, Finite, Field(examples=["1"])] = 1.0
    planfix_requests_per_day: Annotated[NonNegativeInt, Field(examples=["20000"])] = 20_000
    planfix_timezone: Annotated[
        Annotated[str, AfterValidator(_zone)] | None, Field(examples=["Europe/Warsaw"])
    ] = None
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
    google_userinfo_url: Annotated[
        HttpUrl, Field(examples=["https://openidconnect.googleapis.com/v1/userinfo"])
    ] = "https://openidconnect.googleapis.com/v1/userinfo"
    google_critical_reads_per_minute: Annotated[NonNegativeInt, Field(examples=["60"])] = 60
    google_critical_writes_per_minute: Annotated[NonNegativeInt, Field(examples=["30"])] = 30
    google_writes_per_minute: Annotated[NonNegativeInt, Field(examples=["30"])] = 30
    google_group_reads_per_minute: Annotated[NonNegativeInt, Field(examples=["90"])] = 90
    google_daily_writes: Annotated[NonNegativeInt, Field(examples=["100000"])] = 100_000
    google_list_lag_seconds: Annotated[NonNegativeFloat, Finite, Field(examples=["300"])] = 300.0
    google_allowed_domains: Annotated[
        tuple[Annotated[str, AfterValidator(_domain)], ...],
        BeforeValidator(_listed),
        Field(examples=["acme.com,acme.org"]),
    ] = ()

    first_sync: Annotated[Literal["auto", "approve"], BeforeValidator(_lower), Field(examples=["auto"])] = (
        "auto"
    )
    public_url: Annotated[HttpRoot, Field(examples=["http://127.0.0.1:8080/"])] = "http://127.0.0.1:8080/"
    http_bind: Annotated[Annotated[str, AfterValidator(_bind)] | None, Field(examples=["0.0.0.0:8080"])] = (
        None
    )
    secret_keys: Annotated[
        tuple[Annotated[SecretStr, AfterValidator(_secret_key)], ...],
        BeforeValidator(_listed),
        Field(examples=["the output of: openssl rand -hex 32"]),
    ] = ()
    webhook_secret: Annotated[SecretStr | None, Field(examples=["the output of: openssl rand -hex 16"])] = (
        None
    )
    admin_token: Annotated[SecretStr | None, Field(examples=["the output of: openssl rand -hex 16"])] = None

    poll_planfix_seconds: Annotated[PositiveFloat, Finite, Field(examples=["60"])] = 60.0
    poll_google_seconds: Annotated[PositiveFloat, Finite, Field(examples=["60"])] = 60.0
    full_scan_seconds: Annotated[PositiveFloat, Finite, Field(examples=["3600"])] = 3600.0

    new_contact_template: Annotated[PositiveInt | None, Field(examples=["1"])] = None
    new_contact_group: Annotated[PositiveInt | None, Field(examples=["7"])] = None
    new_contact_fields: Annotated[
        dict[str, str],
        BeforeValidator(_json_object),
        AfterValidator(_field_numbers),
        Field(examples=['{"10": "From Google"}']),
    ] = {}
    new_contact_supervisor: Annotated[str, AfterValidator(_supervisor), Field(examples=["owner"])] = "owner"
    custom_fields: Annotated[
        dict[str, str],
        BeforeValidator(_json_object),
        AfterValidator(_field_numbers),
        AfterValidator(_google_names),
        Field(examples=['{"10": "Contract number"}']),
    ] = {}
    default_region: Annotated[str, AfterValidator(_region), Field(examples=["US"])] = "US"

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(_lower), Field(examples=["info"])
    ] = "info"
    log_format: Annotated[
        Literal["console", "json"] | None, BeforeValidator(_lower), Field(examples=["json"])
    ] = None
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
        if _is_loopback(host):
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
    values: dict[str, str] = {}
    for source in (_read_dotenv(dotenv, problems), env):
        for variable, value in source.items():
            if not variable.upper().startswith(PREFIX) or _is_foreign(variable, value):
                continue
            name = variable.removeprefix(PREFIX).lower()
            if variable != PREFIX + name.upper() or name not in Settings.model_fields:
                problems.append(_unknown(variable))
            else:
                values[name] = value.strip()
    try:
        settings = Settings.model_validate({name: value for name, value in values.items() if value})
    except ValidationError as error:
        problems.extend(_malformed(error))
    else:
        if not problems:
            return settings
    raise SettingsError(tuple(dict.fromkeys(problems)))


def _read_dotenv(path: Path | None, problems: list[str]) -> dict[str, str]:
    if path is None or not path.exists():
        return {}
    found: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for binding in parse_stream(stream):
                if binding.error or (binding.key is not None and binding.value is None):
                    where = f"{path.name} line {binding.original.line}"
                    problems.append(f"{where}: is not NAME=value; example: {PREFIX}LOG_LEVEL=info")
                elif binding.key is not None and binding.value is not None:
                    found[binding.key] = binding.value
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        problems.append(f"{path.name}: cannot be read ({reason}); example: a text file with NAME=value lines")
    return found


def _is_foreign(variable: str, value: str) -> bool:
    name = variable.upper().removeprefix(PREFIX)
    announced = name.endswith("_PORT") and value.startswith(("tcp://", "udp://"))
    return name in TESTS_ONLY or announced or _SERVICE_LINK.search(variable) is not None


def _unknown(variable: str) -> str:
    known = [PREFIX + name.upper() for name in Settings.model_fields]
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
    variable = PREFIX + name.upper()
    return f"{variable}: {why}; example: {variable}={_example(name)}"


def _example(name: str) -> str:
    examples = Settings.model_fields[name].examples or [""]
    return str(examples[0])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
