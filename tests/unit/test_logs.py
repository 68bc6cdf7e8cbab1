"""Logs carry ids, never secrets or values; metrics are served under their interface names."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
import structlog

from contactsync.errors import Unavailable
from contactsync.runtime.logs import MASK, configure_logs, get_logger
from contactsync.runtime.metrics import Metrics, serve_metrics
from contactsync.runtime.settings import load_settings

TOKEN = "planfix-token-0123456789"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    settings = {"CONTACTSYNC_LOG_FORMAT": "json", "CONTACTSYNC_PLANFIX_TOKEN": TOKEN}
    configure_logs(load_settings(settings, None), stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def last(stream: io.StringIO) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(stream.getvalue().splitlines()[-1])
    return line


def test_a_line_has_time_level_service_sentence_and_fields(written: io.StringIO) -> None:
    get_logger("writer").info("wrote a contact", filter="4115", contact=7)
    line = last(written)
    assert list(line)[:4] == ["time", "level", "service", "event"]
    assert line["time"].endswith("Z")
    assert (line["service"], line["event"], line["contact"]) == ("writer", "wrote a contact", 7)


@pytest.mark.parametrize(
    "text",
    [
        f"the token is {TOKEN}",
        "Authorization: Bearer abcdefghijkl",
        "https://x.example/rest?access_token=abc123",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "ya29.a0AfH6SMBxyz",
        "nats://user:pass@127.0.0.1:4222",
        "someone ann@example.com did it",
        "call +49 170 1234567 now",
    ],
)
def test_what_looks_like_a_secret_or_an_address_is_masked(written: io.StringIO, text: str) -> None:
    get_logger("writer").warning("note", detail=text, deep={"list": [text]})
    line = last(written)
    assert MASK in line["detail"]
    assert MASK in line["deep"]["list"][0]
    for secret in (TOKEN, "abcdefghijkl", "abc123", "eyJ", "ya29", "pass@", "ann@", "1234567"):
        assert secret not in written.getvalue()


def test_a_field_named_like_a_secret_is_masked_whatever_it_holds(written: io.StringIO) -> None:
    get_logger("gateway").info("note", refresh_token="plain", client_secret={"a": 1}, code=22)
    line = last(written)
    assert (line["refresh_token"], line["client_secret"], line["code"]) == (MASK, MASK, 22)


def test_identifiers_stay_readable(written: io.StringIO) -> None:
    ids = {"filter": "4115", "mutation": "4115.7.2026-11-23", "hash": "9f86d081884c7d65", "at": 1790000000.5}
    get_logger("writer").info("note", **ids)
    assert {name: last(written)[name] for name in ids} == ids


def test_an_exception_shows_its_kind_and_place_but_not_what_it_choked_on(written: io.StringIO) -> None:
    try:
        try:
            int("Ann Secret")
        except ValueError as error:
            raise Unavailable("Planfix cannot be reached") from error
    except Unavailable:
        get_logger("writer").exception("could not write")
    line = last(written)
    assert line["error"] == "Unavailable from ValueError"
    assert line["reason"] == "Planfix cannot be reached"
    assert any(place.startswith("test_logs:") or ".test_logs:" in place for place in line["at"])
    assert "Ann Secret" not in written.getvalue()


def test_lines_of_libraries_are_masked_too_and_access_logs_are_off(written: io.StringIO) -> None:
    logging.getLogger("aiohttp.server").error("Error for %s", "ann@example.com")
    assert last(written)["event"] == f"Error for {MASK}"
    before = written.getvalue()
    logging.getLogger("aiohttp.access").error("GET /activate/signed")
    logging.getLogger("some.library").info("chatter")
    assert written.getvalue() == before


async def test_metrics_and_health_are_served() -> None:
    metrics = Metrics()
    metrics.api_requests.labels("planfix", "contact/list", "200").inc()
    metrics.dead_messages.labels("writer").inc()
    why: list[str | None] = ["no connection to NATS"]
    async with (
        serve_metrics(metrics, lambda: why[0], host="127.0.0.1", port=0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        async with session.get("/metrics") as answer:
            text = await answer.text()
        assert 'contactsync_api_requests_total{api="planfix",method="contact/list",status="200"} 1.0' in text
        assert 'contactsync_dead_messages_total{service="writer"} 1.0' in text
        async with session.get("/healthz") as answer:
            assert answer.status == 200
        async with session.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "no connection to NATS\n")
        why[0] = None
        async with session.get("/readyz") as answer:
            assert answer.status == 200
