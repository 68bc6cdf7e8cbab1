"""`POST /contact/import`: up to a hundred contacts in one request, with Planfix's own search for duplicates.

The answer has no body: what became of each row must be read back. Used by `planfix.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from .planfix_options import PlanfixOptions
from .planfix_store import Contact, PlanfixStore
from .planfix_writes import Change, RefusalError, read_request

ROWS_MAX = 100


def import_rows(
    store: PlanfixStore,
    options: PlanfixOptions,
    body: Mapping[str, object],
    added_by: str,
    now_s: float,
    trashing: Callable[[Contact], None],
) -> int:
    """Applies the rows that Planfix takes and skips the others; how many. Raises RefusalError."""
    rows = body.get("contacts")
    if not isinstance(rows, list):
        raise RefusalError(400, 40, "Required parameter contacts is missing")
    if len(rows) > ROWS_MAX:
        raise RefusalError(400, 41, f"No more than {ROWS_MAX} contacts in one import")
    duplicate = str(body.get("optionImportDuplicate", "none"))
    unique = str(body.get("optionImportUniqueField", "email-phone-name-ifnot"))
    silent = body.get("silent") is True and not options.silent_bumps_modified
    applied = 0
    for row in rows:
        if not isinstance(row, Mapping):
            continue
        found = _by_source(store, body, row) or (None if duplicate == "none" else _twin(store, unique, row))
        if found is not None and duplicate == "ignore":
            continue
        contact = found or store.new_contact(now_s, added_by, is_company=bool(row.get("isCompany", False)))
        try:
            change = read_request(store, options, contact, row, by_api=True, creating=found is None)
        except RefusalError:
            continue
        _apply(store, contact, change, row, None if silent and found else now_s, found is None, trashing)
        applied += 1
    return applied


def _apply(
    store: PlanfixStore,
    contact: Contact,
    change: Change,
    row: Mapping[str, object],
    modified_s: float | None,
    fresh: bool,
    trashing: Callable[[Contact], None],
) -> None:
    if change.trashed and not contact.trashed:
        trashing(contact)
    if fresh:
        change.apply(contact)
        store.insert(contact)
    else:
        with store.changing(contact, modified_s):
            change.apply(contact)


def _by_source(store: PlanfixStore, body: Mapping[str, object], row: Mapping[str, object]) -> Contact | None:
    key = row.get("sourceObjectId")
    if not key or not body.get("sourceId"):
        return None
    return next((each for each in store.contacts.values() if each.texts["sourceObjectId"] == key), None)


def _twin(store: PlanfixStore, unique: str, row: Mapping[str, object]) -> Contact | None:
    """The first live contact that is the same by the chosen fields; Planfix says nothing about several."""
    for contact in store.contacts.values():
        if contact.trashed or contact.is_company != bool(row.get("isCompany", False)):
            continue
        if _same(unique, contact, row):
            return contact
    return None


def _same(unique: str, contact: Contact, row: Mapping[str, object]) -> bool:
    email = str(row.get("email") or "").casefold()
    same_email = bool(email) and email in set(contact.emails())
    phones = row.get("phones")
    digits = (
        {re.sub(r"\D", "", str(each.get("number", ""))) for each in phones} if isinstance(phones, list) else set()
    )
    same_phone = any(re.sub(r"\D", "", phone.number) in digits for phone in contact.phones)
    same_name = all(contact.texts[part] == str(row.get(part) or "") for part in ("name", "midname", "lastname"))
    match unique:
        case "email-phone-name":
            return same_email or same_phone or same_name
        case "email-phone-name-ifnot":
            return same_email or same_phone or (not email and not digits and same_name)
        case "email-phone":
            return same_email or same_phone
        case "phone":
            return same_phone
        case "name":
            return same_name
        case "email-and-phone-and-name":
            return same_email and same_phone and same_name
        case "number":
            return row.get("id") == contact.id
        case _:
            return False
