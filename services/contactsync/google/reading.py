"""Google's JSON of one person -> `GooglePerson`: canonical fields, and `raw` for a later overlay.

Pure. `strip` keeps what a client may write (the discovery document's properties that are not output only) of
entries that belong to the contact itself; `read` turns that into a canonical Contact. `overlay.py` uses both, so
that what is compared and what is written can never differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from contactsync.google import canonical
from contactsync_contracts.contact import CUSTOM_PREFIX, Contact, Element
from contactsync_contracts.messages import GooglePerson, Kept, Stamp

Json = dict[str, Any]

STAMP_KEY: Final = "contactsync"
MY_CONTACTS: Final = "contactGroups/myContacts"

ELEMENTS_MAX: Final = 100
"""A listing shows at most 100 e-mails and 100 phones of a person (discovery, connections.list)."""

WRITABLE: Final[Mapping[str, frozenset[str]]] = {
    "names": frozenset(
        {
            "givenName", "middleName", "familyName", "honorificPrefix", "honorificSuffix", "phoneticFullName",
            "phoneticGivenName", "phoneticMiddleName", "phoneticFamilyName", "phoneticHonorificPrefix",
            "phoneticHonorificSuffix", "unstructuredName",
        }
    ),
    "emailAddresses": frozenset({"value", "type", "displayName"}),
    "phoneNumbers": frozenset({"value", "type"}),
    "birthdays": frozenset({"date", "text"}),
    "genders": frozenset({"value", "addressMeAs"}),
    "biographies": frozenset({"value", "contentType"}),
    "organizations": frozenset(
        {
            "name", "title", "department", "type", "current", "startDate", "endDate", "domain", "jobDescription",
            "location", "phoneticName", "symbol", "costCenter", "fullTimeEquivalentMillipercent",
        }
    ),
    "addresses": frozenset(
        {
            "formattedValue", "type", "poBox", "streetAddress", "extendedAddress", "city", "region", "postalCode",
            "country", "countryCode",
        }
    ),
    "urls": frozenset({"value", "type"}),
    "imClients": frozenset({"username", "protocol", "type"}),
    "userDefined": frozenset({"key", "value"}),
    "memberships": frozenset({"contactGroupMembership"}),
    "clientData": frozenset({"key", "value"}),
}  # fmt: skip
"""Person field to the properties that a client may write; everything in them that is not ours is foreign data."""

PERSON_FIELDS: Final = (*sorted(WRITABLE), "metadata")
"""The read mask: always all of it, so that what is missing in an answer is known to be empty."""

PHONE_KINDS: Final = {"mobile": "mobile", "work": "work", "home": "home", "other": "other"}
IM_FIELDS: Final = ("skype", "telegram", "viber")
PROFILE_FIELDS: Final = ("facebook", "instagram")
SITE_TYPE: Final = "homePage"


@dataclass(frozen=True, slots=True)
class MappingConfig:
    """`custom_fields`: Planfix field number to the name (`userDefined.key`) it has in Google. `planfix_account`
    names the Planfix account in stamps, so that two of them never take each other's people."""

    default_region: str
    planfix_account: str
    custom_fields: Mapping[str, str] = field(default_factory=dict)


def to_person(json: Mapping[str, Any], *, config: MappingConfig) -> GooglePerson:
    """One person of an answer that was asked with PERSON_FIELDS and the contact source only.

    Raises ValueError without a resource name or a CONTACT source: not a contact at all. Where no sources are named,
    nothing but the contact's own was asked for.
    """
    metadata = json.get("metadata") or {}
    source = contact_source(metadata) if "sources" in metadata else {}
    resource = json.get("resourceName")
    if source is None or not isinstance(resource, str) or not resource:
        raise ValueError("the answer holds a person without a name or without a contact source")
    raw = strip(json)
    fields, limits = read(raw, config)
    return GooglePerson(
        resource=resource,
        source_id=str(source.get("id") or source_id_of(resource) or resource.removeprefix("people/")),
        etag=str(source.get("etag") or json.get("etag") or ""),
        updated_at=instant(source.get("updateTime")),
        fields=fields,
        raw=raw,
        labels=labels_of(raw),
        stamps=stamps_of(raw, config.planfix_account),
        previous=tuple(metadata.get("previousResourceNames") or ()),
        limits=limits,
    )


def source_id_of(resource: str) -> str:
    """`people/c<n>` is the contact source n in hex (recorded answers, facts section 1); empty where it is not so."""
    number = resource.removeprefix("people/c")
    return f"{int(number):x}" if number != resource and number.isdecimal() else ""


def contact_source(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for source in metadata.get("sources") or ():
        if source.get("type") == "CONTACT":
            found: Mapping[str, Any] = source
            return found
    return None


def instant(value: object) -> float:
    """Unix seconds of an RFC 3339 time (up to nanoseconds); 0 where there is none."""
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else 0.0
    except ValueError:
        return 0.0


def strip(json: Mapping[str, Any]) -> Json:
    """What a client may write of the contact's own entries, in their order; empty fields are left out."""
    raw: Json = {}
    for name, writable in WRITABLE.items():
        entries = json.get(name)
        if not entries:
            continue
        kept = [{key: value for key, value in entry.items() if key in writable} for entry in entries if _own(entry)]
        match name:
            case "memberships":
                kept = [m for m in map(_membership, kept) if m]
            case "names":
                for entry in kept:
                    # Derived from the parts where there are any; sent back it could win over a changed part.
                    if entry.keys() & {"givenName", "middleName", "familyName"}:
                        entry.pop("unstructuredName", None)
        kept = [entry for entry in kept if entry]
        if kept:
            raw[name] = kept
    return raw


def _own(entry: Mapping[str, Any]) -> bool:
    source = (entry.get("metadata") or {}).get("source")
    return not source or source.get("type", "CONTACT") == "CONTACT"


def _membership(entry: Mapping[str, Any]) -> Json:
    group = (entry.get("contactGroupMembership") or {}).get("contactGroupResourceName")
    return {"contactGroupMembership": {"contactGroupResourceName": group}} if group else {}


def labels_of(raw: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(m["contactGroupMembership"]["contactGroupResourceName"] for m in raw.get("memberships") or ())


def stamps_of(raw: Mapping[str, Any], planfix_account: str) -> tuple[Stamp, ...]:
    """Our stamps (of this Planfix account), each contact once."""
    found: dict[int, Stamp] = {}
    for entry in raw.get("clientData") or ():
        stamp = parse_stamp(entry, planfix_account)
        if stamp is not None:
            found.setdefault(stamp.contact, stamp)
    return tuple(found.values())


def is_ours(entry: Mapping[str, Any], planfix_account: str) -> bool:
    return entry.get("key") == STAMP_KEY and str(entry.get("value", "")).startswith(planfix_account + "/")


def parse_stamp(entry: Mapping[str, Any], planfix_account: str) -> Stamp | None:
    if not is_ours(entry, planfix_account):
        return None
    contact, _, kept = str(entry["value"])[len(planfix_account) + 1 :].partition("/")
    try:
        return Stamp(contact=int(contact), kept=Kept(kept))
    except ValueError:
        return None


def stamp_entry(stamp: Stamp, planfix_account: str) -> Json:
    return {"key": STAMP_KEY, "value": f"{planfix_account}/{stamp.contact}/{stamp.kept.value}"}


def read(raw: Mapping[str, Any], config: MappingConfig) -> tuple[Contact, dict[str, str]]:
    """Canonical fields, and the reasons of those that cannot be mapped (they are left out: unknown)."""
    fields: Contact = {}
    limits: dict[str, str] = {}
    name = _first(raw, "names")
    fields["given"] = canonical.text(name.get("givenName") or name.get("unstructuredName"))
    fields["middle"] = canonical.text(name.get("middleName"))
    fields["family"] = canonical.text(name.get("familyName"))
    work = _first(raw, "organizations")
    fields["position"] = canonical.text(work.get("title"))
    fields["company"] = canonical.text(work.get("name"))
    fields["address"] = one_line(_first(raw, "addresses").get("formattedValue"))
    _put(fields, limits, "birthday", *_birthday(_first(raw, "birthdays")))
    _put(fields, limits, "gender", *_gender(_first(raw, "genders")))
    _put(fields, limits, "notes", *_notes(_first(raw, "biographies")))
    urls: Sequence[Json] = raw.get("urls") or ()
    at = site_index(urls)
    fields["site"] = canonical.text(urls[at].get("value")) if at is not None else ""
    for key in PROFILE_FIELDS:
        at = profile_index(urls, key)
        fields[key] = canonical.profile_url(urls[at].get("value")) if at is not None else ""
    clients: Sequence[Json] = raw.get("imClients") or ()
    for key in IM_FIELDS:
        at = im_index(clients, key)
        fields[key] = im_value(key, clients[at].get("username")) if at is not None else ""
    _put_elements(fields, limits, "emails", raw.get("emailAddresses") or (), config)
    _put_elements(fields, limits, "phones", raw.get("phoneNumbers") or (), config)
    for number, label in config.custom_fields.items():
        at = custom_index(raw.get("userDefined") or (), label)
        fields[CUSTOM_PREFIX + number] = canonical.text(raw["userDefined"][at].get("value")) if at is not None else ""
    return fields, limits


def _first(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    entries = raw.get(name)
    first: Mapping[str, Any] = entries[0] if entries else {}
    return first


def _put(fields: Contact, limits: dict[str, str], name: str, value: str | None, reason: str) -> None:
    if value is None:
        limits[name] = reason
    else:
        fields[name] = value


def _birthday(entry: Mapping[str, Any]) -> tuple[str | None, str]:
    date = entry.get("date")
    if date:
        value = canonical.birthday(date.get("year"), date.get("month"), date.get("day"))
        return value, "the birthday in Google is only a part of a date"
    if entry.get("text"):
        return None, "the birthday in Google is a text, not a date"
    return "", ""


def _gender(entry: Mapping[str, Any]) -> tuple[str | None, str]:
    value = canonical.text(entry.get("value")).lower()
    match value:
        case "" | "unspecified":
            return "", ""
        case "male" | "female":
            return value, ""
        case _:
            return None, "Planfix has no such gender"


def _notes(entry: Mapping[str, Any]) -> tuple[str | None, str]:
    if entry.get("contentType") == "TEXT_HTML":
        return None, "the notes in Google are formatted text"
    return canonical.notes(entry.get("value")), ""


def one_line(value: object) -> str:
    """An address as Planfix holds it: its lines joined by commas."""
    if not isinstance(value, str) or "\n" not in value:
        return canonical.text(value)
    lines = (canonical.text(line).rstrip(",") for line in value.splitlines())
    return ", ".join(line for line in lines if line)


def _put_elements(
    fields: Contact, limits: dict[str, str], name: str, entries: Sequence[Json], config: MappingConfig
) -> None:
    if len(entries) >= ELEMENTS_MAX:
        limits[name] = f"Google shows no more than {ELEMENTS_MAX} of them"
        return
    found: dict[str, Element] = {}
    for entry in entries:
        key = element_key(name, entry, config)
        if key and key not in found:
            kind = phone_kind(entry) if name == "phones" else ""
            found[key] = Element(key=key, value=canonical.text(entry.get("value")), kind=kind)
    fields[name] = tuple(found.values())


def element_key(name: str, entry: Mapping[str, Any], config: MappingConfig) -> str:
    value = entry.get("value")
    if not isinstance(value, str):
        return ""
    return canonical.phone_key(value, config.default_region) if name == "phones" else canonical.email_key(value)


def phone_kind(entry: Mapping[str, Any]) -> str:
    return PHONE_KINDS.get(entry.get("type", ""), "")


def site_index(urls: Sequence[Mapping[str, Any]]) -> int | None:
    """The item that is the site: of type homePage, else the first without type or of type work."""
    fallback: int | None = None
    for at, url in enumerate(urls):
        kind = url.get("type", "")
        if kind == SITE_TYPE:
            return at
        if fallback is None and kind in ("", "work"):
            fallback = at
    return fallback


def profile_index(urls: Sequence[Mapping[str, Any]], kind: str) -> int | None:
    return _index(urls, "type", kind)


def im_index(clients: Sequence[Mapping[str, Any]], protocol: str) -> int | None:
    return _index(clients, "protocol", protocol)


def custom_index(entries: Sequence[Mapping[str, Any]], label: str) -> int | None:
    return next((at for at, entry in enumerate(entries) if entry.get("key") == label), None)


def _index(entries: Sequence[Mapping[str, Any]], name: str, folded: str) -> int | None:
    for at, entry in enumerate(entries):
        if canonical.text(entry.get(name)).casefold() == folded:
            return at
    return None


def im_value(key: str, username: object) -> str:
    return canonical.telegram(username) if key == "telegram" else canonical.text(username)
