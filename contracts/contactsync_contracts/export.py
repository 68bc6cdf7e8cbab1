"""The contracts as documents: a JSON Schema for each message and one AsyncAPI 3.0 description of all subjects.

Everything is derived from :mod:`contactsync_contracts.messages` and the tables below, so the same code always gives
the same bytes. The command line (`contactsync contracts`) writes or compares them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import TypeAdapter

from contactsync_contracts import rest
from contactsync_contracts.messages import BYTES_MAX, CONTACTS_MAX, MESSAGES

Json = dict[str, Any]

VERSION: Final = "1.0.0"
"""Of the contracts as a whole: the first number is the one in the subjects (`contacts.v1`)."""

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_FORMAT: Final = "application/schema+json;version=draft-2020-12"


@dataclass(frozen=True, slots=True)
class _Channel:
    """`sender` and `receiver` are services, or `anyone` for what is public."""

    name: str
    address: str
    messages: tuple[str, ...]
    sender: str
    receiver: str
    stream: str
    msg_id: str
    summary: str
    public: bool = False


_CHANNELS: Final = (
    _Channel(
        "sync",
        "contacts.v1.filter.{filter}.sync",
        ("SyncRequest",),
        "anyone",
        "reconciler",
        "FILTERS",
        "<filter>.sync.<request_id>",
        "Synchronise this filter now. The stream's acknowledgement is the answer.",
        public=True,
    ),
    _Channel(
        "command",
        "contacts.v1.filter.{filter}.command",
        (
            "Enable",
            "ChangeSettings",
            "Pause",
            "Resume",
            "Approve",
            "Decide",
            "Restore",
            "Rebuild",
            "Undo",
            "Disconnect",
        ),
        "gateway and command line",
        "reconciler",
        "FILTERS",
        "<filter>.command.<request_id>",
        "What people decide about a filter.",
    ),
    _Channel(
        "planfixObserved",
        "contacts.v1.filter.{filter}.planfix",
        ("PlanfixObserved", "PlanfixListed", "PlanfixConfirmed", "PlanfixMatched", "FilterObserved"),
        "planfix-watcher",
        "reconciler",
        "FILTERS",
        "<filter>.planfix.<watcher epoch, cursor and page>",
        "What was seen in Planfix, and when.",
    ),
    _Channel(
        "googleObserved",
        "contacts.v1.filter.{filter}.google",
        (
            "GoogleObserved",
            "GoogleGone",
            "GoogleListed",
            "GoogleCaughtUp",
            "GoogleCandidates",
            "LabelObserved",
            "AccountObserved",
        ),
        "google-watcher",
        "reconciler",
        "FILTERS",
        "<filter>.google.<watcher epoch, cursor and page>",
        "What was seen in a Google account, and when.",
    ),
    _Channel(
        "settled",
        "contacts.v1.filter.{filter}.settled",
        ("Settled",),
        "writer",
        "reconciler",
        "FILTERS",
        "<filter>.settled.<id>",
        "What came of mutations.",
    ),
    _Channel(
        "look",
        "contacts.v1.look.{target}",
        ("LookPlanfix", "LookGoogle"),
        "reconciler and gateway",
        "planfix-watcher, google-watcher",
        "LOOK",
        "<look>",
        "What a watcher is to look at; the answer goes to the filter's mailbox.",
    ),
    _Channel(
        "mutate",
        "contacts.v1.writer.{target}.mutate",
        ("Mutate",),
        "reconciler",
        "writer",
        "WRITER",
        "<mutation>.<epoch>",
        "What the writer is to do; the revision of each link makes it once-only.",
    ),
    _Channel(
        "event",
        "contacts.v1.event.{filter}",
        (
            "SyncStarted",
            "SyncProgress",
            "SyncFinished",
            "ContactChanged",
            "ContactHeldBack",
            "PlanFrozen",
            "FilterStateChanged",
        ),
        "reconciler",
        "anyone",
        "EVENTS",
        "<event>",
        "What happened: ids and field names, never values.",
        public=True,
    ),
)

_STREAMS: Final[dict[str, Json]] = {
    "FILTERS": {"name": "FILTERS", "retention": "workqueue", "partitions": 64},
    "WRITER": {"name": "WRITER", "retention": "workqueue", "partitions": 64},
    "LOOK": {"name": "LOOK", "retention": "interest", "partitions": 64},
    "EVENTS": {"name": "EVENTS", "retention": "limits", "maxAgeDays": 7},
    "DEAD": {"name": "DEAD", "retention": "limits", "maxAgeDays": 30},
}
_DEDUPLICATION_S: Final = 120

_PARAMETERS: Final[dict[str, str]] = {
    "filter": "A Planfix filter as one safe token: letters, digits and hyphens stay, anything else is `_` and "
    "the hex of its UTF-8 bytes.",
    "target": "A Google account's token, or `planfix`.",
    "service": "The service that could not read the message.",
}

_TEXT: Final[Json] = {"type": "string"}
_FILTER_ID: Final[Json] = {"type": "string", "minLength": 1, "maxLength": 200}


def _object(required: tuple[str, ...] = (), **properties: Json) -> Json:
    found: Json = {"type": "object", "properties": properties}
    return found | {"required": list(required)} if required else found


_STATUS: Final = _object(
    ("filter_id", "name", "state", "two_way", "google_account", "contacts", "last_sync"),
    filter_id=_FILTER_ID,
    name=_TEXT,
    state=_TEXT,
    two_way={"type": "boolean"},
    google_account={"type": ["string", "null"]},
    contacts=_object(
        ("in_sync", "pending", "held_back", "dismissed"),
        **{key: {"type": "integer"} for key in ("in_sync", "pending", "held_back", "dismissed")},
    ),
    last_sync=_object(
        run_id=_TEXT,
        started_at={"type": "number"},
        finished_at={"type": ["number", "null"]},
        outcome=_TEXT,
        created={"type": "integer"},
        updated={"type": "integer"},
        removed={"type": "integer"},
    )
    | {"type": ["object", "null"]},
)

_CONTACT_ROW: Final[Json] = _object(
    ("contact", "state"),
    contact={"type": ["integer", "null"], "description": "Null for a person under the label without a contact."},
    state=_TEXT,
    reason=_TEXT,
    notes={"type": "array", "items": _TEXT},
    person={"type": ["string", "null"]},
    candidates={"type": "array"},
    name=_TEXT,
    email=_TEXT,
    phone=_TEXT,
)

_QUERIES: Final[dict[str, tuple[str, str, Json, Json]]] = {
    "filters": (
        "reconciler",
        "All synchronised filters.",
        _object(),
        _object(("filters",), filters={"type": "array", "items": _STATUS}),
    ),
    "status": ("reconciler", "One filter.", _object(("filter_id",), filter_id=_FILTER_ID), _STATUS),
    "contacts": (
        "reconciler",
        "The contacts of a filter, with the reason why one is not in sync.",
        _object(
            ("filter_id",),
            filter_id=_FILTER_ID,
            state={"type": ["string", "null"]},
            after={"type": "integer", "description": "Contacts with a higher number only."},
            limit={"type": "integer", "maximum": 1000},
            search={"type": "string", "maxLength": 200, "description": "Words that all have to be found."},
            names={"type": "boolean", "description": "Rows with name, first e-mail and first phone."},
        ),
        _object(
            ("contacts",),
            contacts={"type": "array", "items": _CONTACT_ROW},
            total={"type": "integer"},
            states={"type": "object", "additionalProperties": {"type": "integer"}},
            next={"type": ["integer", "null"], "description": "The `after` of the following page."},
        ),
    ),
    "contact": (
        "reconciler",
        "One contact with both sides' values as last seen.",
        _object(("filter_id", "contact"), filter_id=_FILTER_ID, contact={"type": "integer", "minimum": 1}),
        _CONTACT_ROW
        | {
            "properties": _CONTACT_ROW["properties"]
            | {
                "planfix": {"type": ["object", "null"]},
                "google": {"type": ["object", "null"]},
                "limits": {"type": "object", "additionalProperties": _TEXT},
            }
        },
    ),
    "preview": (
        "reconciler",
        "What a sync would do now, without any effect; takes as long as reading both sides.",
        _object(("filter_id",), filter_id=_FILTER_ID, two_way={"type": ["boolean", "null"]}),
        _object(
            ("filter_id", "state", "plans", "would"),
            filter_id=_FILTER_ID,
            state=_TEXT,
            reason=_TEXT,
            plans={"type": "array", "items": {"type": "object"}},
            would={"type": "array", "items": {"type": "object"}},
        ),
    ),
    "history": (
        "reconciler",
        "What was done to a filter's contacts, the newest first.",
        _object(
            ("filter_id",),
            filter_id=_FILTER_ID,
            contact={"type": ["integer", "null"]},
            run={"type": ["string", "null"]},
            before={"type": ["string", "null"]},
            limit={"type": "integer", "maximum": 1000},
        ),
        _object(
            ("entries", "next"),
            entries={"type": "array", "items": {"type": "object"}},
            next={"type": ["string", "null"], "description": "The `before` of the following page."},
        ),
    ),
    "request": (
        "reconciler",
        "What came of a command.",
        _object(("filter_id", "request_id"), filter_id=_FILTER_ID, request_id=_TEXT),
        _object(("done", "refused"), done={"type": "boolean"}, refused=_TEXT, undo={"type": "object"}),
    ),
    "export": (
        "reconciler",
        "Everything stored of a filter, page by page: first the overview, then `links`, `history` or `others`.",
        _object(("filter_id",), filter_id=_FILTER_ID),
        {"type": "object"},
    ),
    "link": (
        "gateway",
        "A signed activation link; without `user` for the filter's owner.",
        _object(
            ("filter_id",),
            filter_id=_FILTER_ID,
            user={"type": ["integer", "null"]},
            relink={"type": "boolean"},
        ),
        _object(("url", "expires_at"), url=_TEXT, expires_at={"type": "number"}),
    ),
    "planfix_filters": (
        "gateway",
        "The filters that Planfix lists, with their owners.",
        _object(),
        _object(
            ("filters",),
            filters={
                "type": "array",
                "items": _object(
                    ("filter_id", "name", "owner", "owner_name"),
                    filter_id=_FILTER_ID,
                    name=_TEXT,
                    owner={"type": ["integer", "null"]},
                    owner_name={"type": ["string", "null"]},
                ),
            },
        ),
    ),
}


def schema(type_: str) -> Json:
    """JSON Schema (2020-12) of a message, by the text of its type header, e.g. `SyncRequest.v1`."""
    return {"$schema": _DIALECT, "$id": f"urn:contactsync:{type_}"} | TypeAdapter(MESSAGES[type_]).json_schema()


def asyncapi() -> Json:
    """The AsyncAPI 3.0 document; message payloads refer to `schemas/<type>.json` beside it."""
    channels = {one.name: _channel(one) for one in _CHANNELS} | {"dead": _dead_channel()}
    operations: Json = {}
    for one in _CHANNELS:
        operations |= _operations(one)
    for verb in _QUERIES:
        channels |= _query_channels(verb)
        operations |= _query_operations(verb)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Contactsync",
            "version": VERSION,
            "description": (
                "Two-way synchronisation of Planfix filters with Google Contacts labels. Payloads are UTF-8 JSON "
                f"of at most {BYTES_MAX} bytes and {CONTACTS_MAX} contacts; readers ignore unknown fields. "
                "A message that does not fit its contract goes to the channel `dead`."
            ),
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {
                "host": "127.0.0.1:4222",
                "protocol": "nats",
                "description": "NATS server 2.14 or newer with JetStream; the address is a setting "
                "(CONTACTSYNC_NATS_URL).",
            }
        },
        "channels": channels,
        "operations": operations,
        "components": _components(),
    }


def documents() -> dict[str, str]:
    """All generated files: path under `contracts/` -> text."""
    found = {
        f"schemas/{type_}.json": json.dumps(schema(type_), indent=2, ensure_ascii=False) + "\n"
        for type_ in sorted(MESSAGES)
    }
    found["asyncapi.yaml"] = "# Generated by `contactsync contracts`; do not edit.\n" + yaml.dump(
        asyncapi(), Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=110
    )
    found["openapi.yaml"] = "# Generated by `contactsync contracts`; do not edit.\n" + yaml.dump(
        rest.openapi(), Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=110
    )
    return found


def differing(directory: Path) -> list[str]:
    """Paths under `directory` that are missing, differ, or belong to no message any more; sorted."""
    wanted = documents()
    there = {path.relative_to(directory).as_posix() for path in directory.glob("schemas/*.json")}
    wrong = {name for name, text in wanted.items() if _read(directory / name) != text}
    return sorted(wrong | (there - set(wanted)))


def write(directory: Path) -> list[str]:
    """Write what differs and remove schemas without a message; the paths that changed."""
    wanted = documents()
    changed = differing(directory)
    for name in changed:
        path = directory / name
        if name in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[name], encoding="utf-8", newline="\n")
        else:
            path.unlink()
    return changed


class _PlainDumper(yaml.SafeDumper):
    """YAML without anchors: equal parts are written out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None


def _ref(*path: str) -> Json:
    return {"$ref": "#/" + "/".join(path)}


def _parameters(address: str) -> Json:
    found = {name: _ref("components", "parameters", name) for name in _PARAMETERS if f"{{{name}}}" in address}
    return {"parameters": found} if found else {}


def _channel(one: _Channel) -> Json:
    return {
        "address": one.address,
        "summary": one.summary,
        **_parameters(one.address),
        "messages": {name: _ref("components", "messages", name) for name in one.messages},
        "x-public": one.public,
        "x-jetstream": {
            "stream": _STREAMS[one.stream],
            "msgId": one.msg_id,
            "deduplicationSeconds": _DEDUPLICATION_S,
        },
    }


def _dead_channel() -> Json:
    address = "contacts.v1.dead.{service}.{filter}"
    return {
        "address": address,
        "summary": "Messages that did not fit their contract, as they came; the headers say where and why.",
        **_parameters(address),
        "messages": {"Dead": _ref("components", "messages", "Dead")},
        "x-public": False,
        "x-jetstream": {"stream": _STREAMS["DEAD"], "deduplicationSeconds": _DEDUPLICATION_S},
    }


def _operations(one: _Channel) -> Json:
    """What Contactsync itself does on the channel; what is public, others do the other way round."""
    messages = [_ref("channels", one.name, "messages", name) for name in one.messages]
    found: Json = {}
    if one.sender != "anyone":
        found[f"send{one.name[0].upper()}{one.name[1:]}"] = {
            "action": "send",
            "channel": _ref("channels", one.name),
            "messages": messages,
            "x-service": one.sender,
        }
    if one.receiver != "anyone":
        found[f"receive{one.name[0].upper()}{one.name[1:]}"] = {
            "action": "receive",
            "channel": _ref("channels", one.name),
            "messages": messages,
            "x-service": one.receiver,
        }
    return found


def _query_names(verb: str) -> tuple[str, str]:
    stem = "".join(part.capitalize() for part in verb.split("_"))
    return f"query{stem}", f"query{stem}Reply"


def _query_channels(verb: str) -> Json:
    ask, reply = _query_names(verb)
    _, summary, _, _ = _QUERIES[verb]
    return {
        ask: {
            "address": f"contacts.v1.query.{verb}",
            "summary": summary,
            "messages": {ask: _ref("components", "messages", ask)},
            "x-public": False,
        },
        reply: {
            "address": None,
            "summary": "The reply subject of the request. An error has the header `Nats-Service-Error`.",
            "messages": {reply: _ref("components", "messages", reply)},
            "x-public": False,
        },
    }


def _query_operations(verb: str) -> Json:
    ask, reply = _query_names(verb)
    return {
        ask: {
            "action": "receive",
            "channel": _ref("channels", ask),
            "messages": [_ref("channels", ask, "messages", ask)],
            "reply": {
                "channel": _ref("channels", reply),
                "messages": [_ref("channels", reply, "messages", reply)],
            },
            "x-service": _QUERIES[verb][0],
        }
    }


def _components() -> Json:
    messages: Json = {
        type_.removesuffix(".v1"): {
            "name": type_,
            "title": type_.removesuffix(".v1"),
            "contentType": "application/json",
            "headers": _headers(type_),
            "payload": {"schemaFormat": _FORMAT, "schema": {"$ref": f"./schemas/{type_}.json"}},
        }
        for type_ in sorted(MESSAGES)
    }
    messages["Dead"] = {
        "name": "Dead",
        "title": "Dead letter",
        "headers": _object(
            ("Contactsync-Reason", "Contactsync-Subject"),
            **{"Contactsync-Reason": _TEXT, "Contactsync-Subject": _TEXT, "Contactsync-Type": _TEXT},
        ),
        "payload": {},
    }
    for verb, (_, _, ask_schema, reply_schema) in _QUERIES.items():
        ask, reply = _query_names(verb)
        messages[ask] = {"name": ask, "contentType": "application/json", "payload": ask_schema}
        messages[reply] = {"name": reply, "contentType": "application/json", "payload": reply_schema}
    return {
        "messages": messages,
        "parameters": {name: {"description": text} for name, text in _PARAMETERS.items()},
    }


def _headers(type_: str) -> Json:
    return _object(
        ("Nats-Msg-Id", "Contactsync-Type"),
        **{
            "Nats-Msg-Id": {"type": "string", "description": "Makes a repeated publication harmless."},
            "Contactsync-Type": {"const": type_},
            "traceparent": {"type": "string", "description": "W3C trace context."},
        },
    )
