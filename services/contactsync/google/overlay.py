"""What is written to a person: canonical changes laid over the raw JSON that they were merged with.

Pure. Google replaces every field of a mask whole, so whatever is not ours in it has to be sent again just as it
was (2-semantics I6); a field that comes out as it was is left out of the mask. `client.py` sends the result.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from contactsync.google import canonical, reading
from contactsync.google.reading import MY_CONTACTS, Json, MappingConfig
from contactsync_contracts.contact import CUSTOM_PREFIX, NAME_FIELDS, Contact, Element
from contactsync_contracts.messages import Stamp

TEXT_MAX: Final = 1024
"""Characters that Google takes in one field, notes excepted (its help page on contact limits)."""

_NAME_PARTS: Final = {"given": "givenName", "middle": "middleName", "family": "familyName"}
_WORK_PARTS: Final = {"position": "title", "company": "name"}
_VENDOR: Final = {"emails": "emailAddresses", "phones": "phoneNumbers"}

Entries = list[Json]


@dataclass(frozen=True, slots=True)
class PersonWrite:
    """`mask` is sorted and empty when nothing is to be written; `body` holds its fields and the etag.
    `unwritable`: canonical field to the reason why it cannot be written without losing foreign data."""

    mask: tuple[str, ...]
    body: Json
    unwritable: dict[str, str] = field(default_factory=dict)


def build_create(
    fields: Contact, *, is_company: bool, labels: Sequence[str], stamp: Stamp, config: MappingConfig
) -> Json:
    """A new person's JSON: the fields that are filled, `myContacts` and the labels, and the stamp."""
    body: Json = {}
    _lay(body, as_company(fields) if is_company else fields, config)
    groups = dict.fromkeys((MY_CONTACTS, *labels))
    body["memberships"] = [_member(group) for group in groups]
    body["clientData"] = [reading.stamp_entry(stamp, config.planfix_account)]
    return body


def build_update(
    raw: Mapping[str, Any],
    etag: str,
    resource: str,
    source_id: str,
    changed: Contact,
    *,
    labels_on: Sequence[str] = (),
    labels_off: Sequence[str] = (),
    stamp: Stamp | None = None,
    is_company: bool = False,
    config: MappingConfig,
) -> PersonWrite:
    """`changed` (canonical fields that are to have these values), labels and stamp, laid over `raw` at `etag`."""
    target: Json = copy.deepcopy(dict(raw))
    unwritable = _lay(target, as_company(changed) if is_company else changed, config)
    _lay_labels(target, labels_on, labels_off)
    if stamp is not None:
        _lay_stamp(target, stamp, config.planfix_account)
    mask = tuple(sorted(name for name in reading.WRITABLE if target.get(name, []) != raw.get(name, [])))
    body: Json = {name: target.get(name, []) for name in mask}
    body["resourceName"] = resource
    source = {"type": "CONTACT", "id": source_id}
    if not etag.startswith("%"):
        source["etag"] = etag
    if not etag.startswith("#"):
        # Google's source etags begin with "#", its persons' with "%", and each is refused in the other's place; a
        # server that has one etag for both may look for it in either.
        body["etag"] = etag
    body["metadata"] = {"sources": [source]}
    return PersonWrite(mask, body, unwritable)


def as_company(fields: Contact) -> Contact:
    """A company has no name but the organisation's (2-semantics 2.8)."""
    parts = [str(fields[name]) for name in ("given", "middle", "family") if fields.get(name)]
    rest = {key: value for key, value in fields.items() if key not in NAME_FIELDS}
    if parts and not rest.get("company"):
        rest["company"] = " ".join(parts)
    return rest


def _lay(target: Json, wanted: Contact, config: MappingConfig) -> dict[str, str]:
    unwritable: dict[str, str] = {}
    now, _ = reading.read(target, config)
    for name, value in wanted.items():
        if isinstance(value, str):
            fitting = fit(name, value)
            if now.get(name) != fitting and (reason := _lay_scalar(target, name, fitting, config)):
                unwritable[name] = reason
        elif reason := _lay_elements(target, name, value, config):
            unwritable[name] = reason
    return unwritable


def fit(name: str, value: str) -> str:
    """The value that Google can hold: canonical, without control characters, cut where it is too long."""
    clean = "".join(c for c in value if c.isprintable() or c in "\n\t" or c.isspace()) if value else value
    if name == "notes":
        return canonical.notes(clean)
    text = canonical.text(clean)
    if name in reading.PROFILE_FIELDS:
        text = canonical.profile_url(text)
    elif name == "telegram":
        text = canonical.telegram(text)
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX].strip()


def _lay_scalar(target: Json, name: str, value: str, config: MappingConfig) -> str | None:
    """One scalar; the reason if it cannot be written."""
    if part := _NAME_PARTS.get(name):
        _part(target, "names", part, value)
        entry = (target.get("names") or [{}])[0]
        if entry.pop("unstructuredName", None) and not entry:
            del target["names"]
        return None
    if part := _WORK_PARTS.get(name):
        if any(e.keys() & {"startDate", "endDate"} for e in target.get("organizations", ())):
            # Google answers 500 to a write of organisations with dates, and leaving the dates out loses them.
            return "Google does not take changes of an organisation that has a start or end date"
        _part(target, "organizations", part, value)
        return None
    if name.startswith(CUSTOM_PREFIX):
        label = config.custom_fields.get(name[len(CUSTOM_PREFIX) :])
        if label is None:
            return "this custom field has no name in Google"
        _item(target, "userDefined", reading.custom_index, label, "value", value, {"key": label})
        return None
    match name:
        case "birthday":
            return _lay_birthday(target, value)
        case "gender":
            _part(target, "genders", "value", value)
        case "notes":
            _replace(target, "biographies", {"value": value, "contentType": "TEXT_PLAIN"} if value else None)
        case "address":
            # Structured parts would contradict the new line: only the type stays.
            kind = {k: v for k, v in (target.get("addresses") or [{}])[0].items() if k == "type"}
            _replace(target, "addresses", {**kind, "formattedValue": value} if value else None)
        case "site":
            _item(
                target, "urls", lambda urls, _: reading.site_index(urls), "", "value", value,
                {"type": reading.SITE_TYPE},
            )  # fmt: skip
        case "facebook" | "instagram":
            _item(target, "urls", reading.profile_index, name, "value", value, {"type": name})
        case "skype" | "telegram" | "viber":
            _item(target, "imClients", reading.im_index, name, "username", value, {"protocol": name})
        case _:
            return "Google has no place for this field"
    return None


def _lay_birthday(target: Json, value: str) -> str | None:
    if not value:
        _replace(target, "birthdays", None)
        return None
    parts = canonical.birthday_parts(value)
    if parts is None:
        return "this is not a date"
    date = {name: part for name, part in zip(("year", "month", "day"), parts, strict=True) if part}
    _replace(target, "birthdays", {"date": date})
    return None


def _part(target: Json, vendor: str, part: str, value: str) -> None:
    """One property of the first entry; the entry goes only when nothing else is in it."""
    entries: Entries = target.setdefault(vendor, [])
    if not entries:
        entries.append({})
    if value:
        entries[0][part] = value
    else:
        entries[0].pop(part, None)
        if not entries[0]:
            entries.pop(0)
    _tidy(target, vendor)


def _replace(target: Json, vendor: str, entry: Json | None) -> None:
    """The first entry, whole."""
    target[vendor] = ([entry] if entry else []) + list(target.get(vendor) or ())[1:]
    _tidy(target, vendor)


def _item(
    target: Json,
    vendor: str,
    find: Callable[[Sequence[Mapping[str, Any]], str], int | None],
    name: str,
    part: str,
    value: str,
    new: Mapping[str, str],
) -> None:
    """The entry that stands for this field: its value alone changes; it is added or removed as a whole."""
    entries: Entries = target.setdefault(vendor, [])
    at = find(entries, name)
    if at is None:
        if value:
            entries.append({**new, part: value})
    elif value:
        entries[at][part] = value
    else:
        entries.pop(at)
    _tidy(target, vendor)


def _tidy(target: MutableMapping[str, Any], vendor: str) -> None:
    if not target.get(vendor):
        target.pop(vendor, None)


def _lay_elements(target: Json, name: str, wanted: Sequence[Element], config: MappingConfig) -> str | None:
    vendor = _VENDOR.get(name)
    if vendor is None:
        return "Google has no place for this field"
    entries: Entries = list(target.get(vendor) or ())
    if len(entries) >= reading.ELEMENTS_MAX:
        return f"Google shows no more than {reading.ELEMENTS_MAX} of them"
    by_key = {element.key: element for element in wanted}
    keys = [reading.element_key(name, entry, config) for entry in entries]
    kept = [
        _typed(entry, by_key[key]) if key in by_key and name == "phones" else entry
        for entry, key in zip(entries, keys, strict=True)
        if not key or key in by_key
    ]
    known = set(keys)
    added = [_new_element(name, element, config) for element in by_key.values() if element.key not in known]
    first_is_new = bool(wanted) and wanted[0].key not in known
    if first_is_new and keys and keys[0] not in by_key:
        # The first one is the primary one: its successor takes its place.
        kept.insert(0, added.pop(0))
    target[vendor] = kept + added
    _tidy(target, vendor)
    return None


def _typed(entry: Json, element: Element) -> Json:
    """A type that Planfix cannot hold stays while the number stays (2-semantics 2.8)."""
    kind = entry.get("type", "")
    if not element.kind or kind == element.kind or (kind and kind not in reading.PHONE_KINDS):
        return entry
    return {**entry, "type": element.kind}


def _new_element(name: str, element: Element, config: MappingConfig) -> Json:
    value = canonical.text(element.value) or element.key
    if name != "phones":
        return {"value": value[:TEXT_MAX]}
    entry = {"value": canonical.dialable(element.key, value, config.default_region)[:TEXT_MAX]}
    return {**entry, "type": element.kind} if element.kind else entry


def _lay_labels(target: Json, labels_on: Sequence[str], labels_off: Sequence[str]) -> None:
    before = reading.labels_of(target)
    after = [group for group in before if group not in labels_off]
    after += [group for group in dict.fromkeys(labels_on) if group not in before]
    if list(before) == after:
        return
    if not after or not before:
        after = list(dict.fromkeys((MY_CONTACTS, *after)))
    target["memberships"] = [_member(group) for group in after]


def _member(group: str) -> Json:
    return {"contactGroupMembership": {"contactGroupResourceName": group}}


def _lay_stamp(target: Json, stamp: Stamp, planfix_account: str) -> None:
    entries: Entries = list(target.get("clientData") or ())
    ours = [at for at, entry in enumerate(entries) if reading.is_ours(entry, planfix_account)]
    new = reading.stamp_entry(stamp, planfix_account)
    at = ours[0] if ours else len(entries)
    target["clientData"] = [
        *entries[:at],
        new,
        *(e for e in entries[at:] if not reading.is_ours(e, planfix_account)),
    ]
