"""Names of subjects and keys; every token that comes from outside is made safe here."""

from __future__ import annotations

import re
from typing import Final

PLANFIX: Final = "planfix"
"""The target and look key of the Planfix side; no account token can be equal to it (see :func:`token`)."""

PARTITIONS: Final = 64

_SAFE: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


def token(raw: str) -> str:
    """``raw`` as one safe subject token: itself where it is one, else ``_`` and its UTF-8 bytes in hex.

    Reversible (:func:`untoken`); ``_`` starts no plain token, so that two raw texts never share one.
    """
    if _SAFE.fullmatch(raw) and raw != PLANFIX:
        return raw
    return "_" + raw.encode().hex()


def untoken(text: str) -> str:
    """The text that :func:`token` was given."""
    return bytes.fromhex(text[1:]).decode() if text.startswith("_") else text


def mailbox(filter_id: str, kind: str) -> str:
    """``kind``: sync, command, planfix, google, settled."""
    return f"contacts.v1.filter.{token(filter_id)}.{kind}"


def look(target: str) -> str:
    """``target``: :data:`PLANFIX` or an account's token."""
    return f"contacts.v1.look.{target}"


def mutate(target: str) -> str:
    """``target``: :data:`PLANFIX` or an account's token."""
    return f"contacts.v1.writer.{target}.mutate"


def event(filter_id: str) -> str:
    return f"contacts.v1.event.{token(filter_id)}"


def dead(service: str, filter_id: str | None) -> str:
    return f"contacts.v1.dead.{service}.{token(filter_id) if filter_id else 'none'}"


def query(verb: str) -> str:
    return f"contacts.v1.query.{verb}"


def filter_key(filter_id: str) -> str:
    return f"state.filter.{token(filter_id)}"


def link_key(filter_id: str, contact: int) -> str:
    return f"state.filter.{token(filter_id)}.link.{contact}"


def arrival_key(filter_id: str, source_id: str) -> str:
    return f"state.filter.{token(filter_id)}.arrival.{token(source_id)}"


def decided_key(filter_id: str, contact: int) -> str:
    """What humans decided about a possible duplicate; it outlives the contact's link."""
    return f"{filter_key(filter_id)}.decided.{contact}"


def request_key(filter_id: str, request_id: str) -> str:
    return f"state.filter.{token(filter_id)}.request.{token(request_id)}"


def history_prefix(filter_id: str) -> str:
    return f"history.{token(filter_id)}."


def history_key(filter_id: str, contact: int, number: int) -> str:
    return f"history.{token(filter_id)}.{contact}.{number}"


def grant_key(account: str) -> str:
    return f"state.account.{account}.grant"


def label_key(account: str, filter_id: str) -> str:
    return f"state.account.{account}.label.{token(filter_id)}"


def person_key(account: str, contact: int) -> str:
    return f"state.account.{account}.person.{contact}"


def intent_key(account: str) -> str:
    return f"state.account.{account}.intent"


def census_key(account: str) -> str:
    return f"state.account.{account}.census"


def capacity_key(account: str) -> str:
    return f"state.account.{account}.capacity"
