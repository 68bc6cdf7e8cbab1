"""Logs: a fixed short sentence with fields; ids and field names, never values of contacts or secrets.

`configure_logs` is called once by each command; services use `get_logger`. Whatever slips through by
mistake (a token in an address, an e-mail address in an exception) is masked here, for our own log lines and
for the libraries'; `runtime/settings.py` supplies the secrets that are masked by their exact text.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping
from traceback import walk_tb
from types import TracebackType
from typing import Any, Final, TextIO, cast

import structlog
from pydantic import SecretStr
from structlog.typing import EventDict, Processor, WrappedLogger

from contactsync.errors import VendorError
from contactsync.runtime.settings import Settings

MASK: Final = "***"
FRAMES_MAX: Final = 12

_SECRET_NAME: Final = re.compile(
    r"token|secret|passw|authori[sz]ation|cookie|credential|api_?key|private|seed|verifier|\bcode\b",
    re.IGNORECASE,
)
_SECRET_TEXT: Final = re.compile(
    r"""
      (?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}               # an Authorization header
    | (?<=[?&;])(?i:access_token|refresh_token|token|code|state|signature|key)=[^&\s"']+
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?   # a JSON web token
    | \bya29\.[A-Za-z0-9._-]+ | \b1//[A-Za-z0-9_-]{10,}         # Google's access and refresh tokens
    | \bGOCSPX-[A-Za-z0-9_-]+
    | \bS[UAON][A-Z2-7]{40,}                                    # a NATS seed
    | (?<=://)[^/\s:@]+:[^/\s@]+(?=@)                           # user and password in an address
    | [^\s@<>"'=,;:()/]+@[^\s@<>"'=,;:()/]+\.[^\s@<>"'=,;:()/]+ # an e-mail address
    | (?<![\w-])\+\d[\d\s()-]{7,}\d                             # a phone number
    """,
    re.VERBOSE,
)


class Masking:
    """The processor that hides what looks like a secret or an address, and the texts in `known`."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        # The longest first, so that a secret that begins with another one is masked whole.
        texts = sorted({text for text in known if len(text) >= 6}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, texts))) if texts else None

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {key: self._masked(key, value) for key, value in event.items()}

    def _masked(self, key: str, value: object) -> object:
        if key.startswith("_"):  # structlog's own, dropped before anything is written
            return value
        if value is not None and not isinstance(value, bool | int | float) and _SECRET_NAME.search(key):
            return MASK
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self._text(value)
            case bytes():
                return MASK
            case Mapping():
                return {str(name): self._masked(str(name), one) for name, one in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._masked("", one) for one in value]
            case _:
                return self._text(str(value))

    def _text(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return _SECRET_TEXT.sub(MASK, text)


def describe_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replaces `exc_info` by the exception's kind and places.

    Messages of exceptions quote what they choked on, so only those written to be read
    (`VendorError.reason`, the operating system's) are kept.
    """
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if isinstance(info, tuple) and isinstance(info[1], BaseException):
        event["error"] = _kinds(info[1])
        if reason := _reason(info[1]):
            event["reason"] = reason
        event["at"] = _places(info[2])
    return event


def configure_logs(settings: Settings, stream: TextIO | None = None) -> None:
    """Sends our logs and the libraries' (warnings and worse) to `stream`, by default standard error."""
    stream = stream if stream is not None else sys.stderr
    kind = settings.log_format or ("console" if stream.isatty() else "json")
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        describe_exception,
        Masking(_secrets(settings)),
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False, sort_keys=False)
        if kind == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time")
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _fold_reserved, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("contactsync").setLevel(level)
    # It would write the signed addresses that people follow.
    logging.getLogger("aiohttp.access").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def get_logger(service: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of a service (`planfix-watcher`, …); every line carries its name."""
    return cast(
        structlog.typing.FilteringBoundLogger, structlog.get_logger(f"contactsync.{service}", service=service)
    )


def _fold_reserved(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Puts time, level and sentence first."""
    first = {key: event.pop(key) for key in ("time", "level", "service", "event") if key in event}
    return {**first, **event}


def _secrets(settings: Settings) -> list[str]:
    found: list[str] = []
    for name in type(settings).model_fields:
        value: Any = getattr(settings, name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, SecretStr):
                found.append(one.get_secret_value())
    return found


def _kinds(error: BaseException) -> str:
    names: list[str] = []
    current: BaseException | None = error
    while current is not None and len(names) < 5:
        name = type(current).__name__
        if isinstance(current, BaseExceptionGroup):
            name += "(" + ", ".join(_kinds(one) for one in current.exceptions[:5]) + ")"
        names.append(name)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return " from ".join(names)


def _reason(error: BaseException) -> str | None:
    if isinstance(error, VendorError):
        return error.reason
    return error.strerror if isinstance(error, OSError) else None


def _places(trace: TracebackType | None) -> list[str]:
    places = [f"{frame.f_globals.get('__name__', '?')}:{line}" for frame, line in walk_tb(trace)]
    return places[-FRAMES_MAX:]
