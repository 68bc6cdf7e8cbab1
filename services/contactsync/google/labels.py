"""Google's contact groups <-> `port.Label`. Pure; used by `client.py`.

A label of ours carries, under the key of our stamps, `<planfix account>/filter/<filter>` in its own client data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from contactsync.google.port import Json, Label
from contactsync.google.reading import STAMP_KEY

READ_FIELDS: Final = "clientData,groupType,memberCount,metadata,name"
WRITE_READ_FIELDS: Final = "clientData,groupType,metadata,name"
"""memberCount is no valid field of the answer to a create (discovery, CreateContactGroupRequest)."""


def to_label(json: Mapping[str, Any], planfix_account: str) -> Label | None:
    """A user's group; None for the system's own, deleted ones, and what is no group at all."""
    resource = json.get("resourceName")
    if not isinstance(resource, str) or json.get("groupType") == "SYSTEM_CONTACT_GROUP" or is_deleted(json):
        return None
    data = tuple(
        {"key": entry.get("key", ""), "value": entry.get("value", "")}
        for entry in json.get("clientData") or ()
        if isinstance(entry, dict)
    )
    members = json.get("memberCount")
    return Label(
        resource=resource,
        name=str(json.get("name", "")),
        etag=str(json.get("etag", "")),
        members=members if isinstance(members, int) else 0,
        stamp=_stamp_in(data, planfix_account),
        client_data=data,
    )


def is_deleted(json: Mapping[str, Any]) -> bool:
    return bool((json.get("metadata") or {}).get("deleted"))


def create_body(name: str, stamp: str, planfix_account: str) -> Json:
    return {
        "contactGroup": {"name": name, "clientData": [_entry(stamp, planfix_account)]},
        "readGroupFields": WRITE_READ_FIELDS,
    }


def update_body(label: Label, name: str | None, stamp: str | None, planfix_account: str) -> Json | None:
    """Only what differs, with everybody else's client data; None when nothing does. An empty stamp takes ours off."""
    group: Json = {"resourceName": label.resource, "etag": label.etag}
    mask: list[str] = []
    if stamp is not None and (label.stamp or "") != stamp:
        foreign = [entry for entry in label.client_data if not _is_ours(entry, planfix_account)]
        group["clientData"] = [*foreign, *([_entry(stamp, planfix_account)] if stamp else [])]
        mask.append("clientData")
    if name is not None and name != label.name:
        mask.append("name")
    if not mask:
        return None
    group["name"] = label.name if name is None else name
    return {"contactGroup": group, "updateGroupFields": ",".join(mask), "readGroupFields": WRITE_READ_FIELDS}


def _entry(stamp: str, planfix_account: str) -> Json:
    return {"key": STAMP_KEY, "value": f"{planfix_account}/filter/{stamp}"}


def _is_ours(entry: Mapping[str, Any], planfix_account: str) -> bool:
    return entry.get("key") == STAMP_KEY and str(entry.get("value")).startswith(f"{planfix_account}/filter/")


def _stamp_in(data: tuple[Json, ...], planfix_account: str) -> str | None:
    prefix = f"{planfix_account}/filter/"
    return next((str(e["value"])[len(prefix) :] for e in data if _is_ours(e, planfix_account)), None)
