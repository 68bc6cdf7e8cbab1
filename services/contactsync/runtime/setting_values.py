"""What values of settings look like: text from the environment to checked values, or the reason why not.

Each check raises ValueError with a text that completes "this setting ..."; `settings.py` names the variables.
"""

from __future__ import annotations

import ipaddress
import json
import re
from email.utils import parseaddr
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from contactsync_contracts.messages import Limit


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


def _smtp_url(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError("must be an address that starts with smtp:// or smtps://")
    _ = parts.port  # raises ValueError when it is no port
    return value


def _sender(value: str) -> str:
    name, _, domain = parseaddr(value)[1].rpartition("@")
    if not name or "." not in domain or not value.isprintable():
        raise ValueError("must be an e-mail address, with or without a name")
    return value


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


def _limit(value: object) -> object:
    """`least,percent`, as in `10,10`."""
    if not isinstance(value, str):
        return value
    least, comma, percent = value.partition(",")
    if not comma or not least.strip().isdigit() or not re.fullmatch(r"[0-9]+(\.[0-9]+)?", percent.strip()):
        raise ValueError("must be a number of actions and a percentage, with a comma between")
    return Limit(least=int(least), percent=float(percent))


def split_bind(value: str) -> tuple[str, int]:
    """`host:port`, `[v6]:port` or `:port` (all addresses). Raises ValueError."""
    host, colon, port = value.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()):
        raise ValueError("must be host:port")
    return host.strip("[]") or "0.0.0.0", int(port)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


BreakerLimit = Annotated[Limit, BeforeValidator(_limit)]
HttpUrl = Annotated[str, _url("http", "https")]
SmtpUrl = Annotated[SecretStr, AfterValidator(_smtp_url)]
Sender = Annotated[str, AfterValidator(_sender)]
FirstSync = Annotated[Literal["auto", "approve"], BeforeValidator(_lower)]
HttpRoot = Annotated[str, _url("http", "https"), AfterValidator(_with_slash)]
NatsUrls = Annotated[str, AfterValidator(_nats_url)]
Zone = Annotated[str, AfterValidator(_zone)]
Region = Annotated[str, AfterValidator(_region)]
Domains = Annotated[tuple[Annotated[str, AfterValidator(_domain)], ...], BeforeValidator(_listed)]
SecretKeys = Annotated[tuple[Annotated[SecretStr, AfterValidator(_secret_key)], ...], BeforeValidator(_listed)]
Bind = Annotated[str, AfterValidator(_bind)]
Supervisor = Annotated[str, AfterValidator(_supervisor)]
FieldValues = Annotated[dict[str, str], BeforeValidator(_json_object), AfterValidator(_field_numbers)]
FieldNames = Annotated[FieldValues, AfterValidator(_google_names)]
Port = Annotated[int, Field(ge=1, le=65535)]
Lower = BeforeValidator(_lower)
Finite = Field(allow_inf_nan=False)
