"""People and groups as Google's answers show them: masks, sources, both etags, tombstones.

Pure over the versions of `google_store.py`; a person is put together from pieces of JSON that its version keeps.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from .google_etags import mask_header, person_etag
from .google_schema import READABLE
from .google_store import SYSTEM_GROUPS, Account, GroupVersion, PersonVersion, timestamp

LISTED_ELEMENTS_MAX: Final = 100
_CAPPED: Final = ("emailAddresses", "phoneNumbers")
_ORDER: Final = {path: index for index, path in enumerate(READABLE)}
DEFAULT_GROUP_MASK: Final = frozenset({"metadata", "groupType", "memberCount", "name"})


@dataclass(frozen=True, slots=True)
class View:
    """What a request wants of each person. ``listing``: e-mails and phones are cut at 100; ``sync``: with a token."""

    paths: tuple[str, ...]
    header: bytes
    contact: bool = True
    profile: bool = False
    listing: bool = False
    sync: bool = False


def view(mask: frozenset[str], sources: Sequence[str] = (), *, listing: bool = False, sync: bool = False) -> View:
    return View(
        tuple(sorted(mask - {"metadata"}, key=_ORDER.__getitem__)) + (("metadata",) if "metadata" in mask else ()),
        mask_header(mask),
        not sources or "READ_SOURCE_TYPE_CONTACT" in sources,
        not sources or "READ_SOURCE_TYPE_PROFILE" in sources,
        listing,
        sync,
    )


def person_json(version: PersonVersion, wanted: View) -> bytes:
    etag = person_etag(wanted.header, version.etag)
    parts = [b'{"resourceName":"', version.resource_name.encode(), b'","etag":"', etag.encode(), b'"']
    if version.deleted:
        return _tombstone(version, wanted, parts)
    mixed = version.profile is not None and (wanted.profile or not wanted.contact)
    plain = wanted.contact and not mixed
    for path in wanted.paths:
        if path == "metadata":
            piece = _metadata_piece(version, wanted, plain)
        elif plain and not (wanted.listing and path in _CAPPED and _too_many(version, path)):
            piece = version.piece(path)
        else:
            piece = _chosen(version, path, wanted)
        if piece:
            parts.append(b",")
            parts.append(piece)
    parts.append(b"}")
    return b"".join(parts)


def _too_many(version: PersonVersion, path: str) -> bool:
    return len(version.fields.get(path, ())) > LISTED_ELEMENTS_MAX


def _chosen(version: PersonVersion, path: str, wanted: View) -> bytes:
    elements = version.elements(path, with_profile=wanted.profile)
    if not wanted.contact:
        elements = [each for each in elements if each["metadata"]["source"]["type"] == "PROFILE"]
    if wanted.listing and path in _CAPPED:
        elements = elements[:LISTED_ELEMENTS_MAX]
    return orjson.dumps(path) + b":" + orjson.dumps(elements) if elements else b""


def _metadata_piece(version: PersonVersion, wanted: View, plain: bool) -> bytes:
    keep = plain and not wanted.sync
    piece = version.pieces.get("metadata") if keep else None
    if piece is None:
        piece = b'"metadata":' + orjson.dumps(_metadata(version, wanted))
        if keep:
            version.pieces["metadata"] = piece
    return piece


def _metadata(version: PersonVersion, wanted: View) -> dict[str, Any]:
    at = timestamp(version.at_s)
    sources: list[dict[str, Any]] = []
    if wanted.contact:
        source = {"type": "CONTACT", "id": version.source_id, "etag": f"#{version.etag}", "updateTime": at}
        sources.append(source)
    if wanted.profile and version.profile is not None:
        sources.append(
            {
                "type": "PROFILE",
                "id": version.profile_id,
                "etag": f"#{version.profile_id[:11]}=",
                "profileMetadata": {"objectType": "PERSON", "userTypes": ["GOOGLE_USER"]},
                "updateTime": at,
            }
        )
    shown: dict[str, Any] = {"sources": sources}
    if wanted.sync and version.previous:
        shown["previousResourceNames"] = list(version.previous)
    return shown | {"objectType": "PERSON"}


def _tombstone(version: PersonVersion, wanted: View, parts: list[bytes]) -> bytes:
    """As recorded: nothing but who it was, and an update time of 1970."""
    if "photos" in wanted.paths:
        parts += [b',"photos":', orjson.dumps(PersonVersion.elements(version, "photos"))]
    if "metadata" in wanted.paths:
        source = {
            "type": "CONTACT",
            "id": version.source_id,
            "etag": f"#{version.etag}",
            "updateTime": timestamp(0),
        }
        metadata = {"sources": [source], "deleted": True, "objectType": "PERSON"}
        parts += [b',"metadata":', orjson.dumps(metadata)]
    parts.append(b"}")
    return b"".join(parts)


def group_json(
    account: Account, group: GroupVersion, mask: frozenset[str] = DEFAULT_GROUP_MASK, members_max: int = 0
) -> dict[str, Any]:
    shown: dict[str, Any] = {"resourceName": group.resource_name, "etag": group.etag}
    if "metadata" in mask:
        metadata: dict[str, Any] = {"updateTime": timestamp(group.at_s)}
        shown["metadata"] = metadata | {"deleted": True} if group.deleted else metadata
    if group.deleted:
        return shown
    if "groupType" in mask:
        shown["groupType"] = "USER_CONTACT_GROUP"
    if "name" in mask:
        shown |= {"name": group.name, "formattedName": group.name}
    if "clientData" in mask and group.client_data:
        shown["clientData"] = list(group.client_data)
    return shown | _members(account, group.resource_name, mask, members_max)


def system_group_json(
    account: Account, resource_name: str, mask: frozenset[str] = DEFAULT_GROUP_MASK, members_max: int = 0
) -> dict[str, Any]:
    """Without etag and metadata, as recorded."""
    name = resource_name.partition("/")[2]
    shown: dict[str, Any] = {"resourceName": resource_name}
    if "groupType" in mask:
        shown["groupType"] = "SYSTEM_CONTACT_GROUP"
    if "name" in mask:
        shown |= {"name": name, "formattedName": SYSTEM_GROUPS[name]}
    return shown | _members(account, resource_name, mask, members_max)


def _members(account: Account, resource_name: str, mask: frozenset[str], members_max: int) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    count = account.member_count(resource_name)
    if "memberCount" in mask and count:
        shown["memberCount"] = count
    if members_max and account.members[resource_name]:
        shown["memberResourceNames"] = list(account.members[resource_name])[:members_max]
    return shown


def with_shuffled_keys(value: Any, rng: random.Random) -> Any:
    """The same JSON with the keys of every object in another order."""
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: with_shuffled_keys(value[key], rng) for key in keys}
    if isinstance(value, list):
        return [with_shuffled_keys(each, rng) for each in value]
    return value
