"""Writing to Planfix without a version check: what is compared before a write, and what a read-back says after it.

Pure. Planfix knows no etag: the last write wins, so the fields that are about to be written are compared with what
they were when the change was merged, and read again afterwards, since `failures` in a success, a queued 202 and
silently ignored fields all look like success. `planfix_target.py` asks and writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from contactsync_contracts.contact import ELEMENT_FIELDS, NAME_FIELDS, Contact, Element
from contactsync_contracts.messages import Class, Outcome, PlanfixContact, PlanfixMutation

GROUP_MAX: Final = 100
"""Contacts whose numbers fit one list request."""

NOT_TAKEN: Final = "Planfix did not take this change"
NOT_CONFIRMED: Final = "could not confirm that you may edit this contact"

Value = str | tuple[Element, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """One filter's mutation as it waits in the queue."""

    filter_id: str
    cls: Class
    mutation: PlanfixMutation


def equal(one: Value | None, other: Value | None) -> bool:
    """Canonically equal: elements by key in any order; a kind that one side does not say is no difference."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        kinds = {element.key: element.kind for element in one}
        others = {element.key: element.kind for element in other}
        return kinds.keys() == others.keys() and all(
            not kind or not others[key] or kind == others[key] for key, kind in kinds.items()
        )
    return one == other


def differs(expected: Contact, now: Contact) -> bool:
    """Whether the contact is not what it was when it was merged. A field that the answer lacks is unknown, which is
    not different."""
    return any(name in now and not equal(value, now[name]) for name, value in expected.items())


def holds(wanted: Contact, now: Contact) -> bool:
    """Whether the contact has all wanted values already."""
    return all(name in now and equal(value, now[name]) for name, value in wanted.items())


def kept(wanted: Contact, before: Contact, after: Contact) -> dict[str, str]:
    """Fields that read back as they were although they were to change, and e-mails that are missing."""
    refused: dict[str, str] = {}
    for name, value in wanted.items():
        if name not in after or equal(value, after[name]):
            continue
        if equal(before.get(name), after[name]) or (name == "emails" and _missing(value, after[name])):
            refused[name] = NOT_TAKEN
    return refused


def extra_emails_stuck(wanted: Contact, before: Contact, after: Contact) -> bool | None:
    """Whether additional e-mail addresses that were sent are there now; None when none were new."""
    sent = set(keys_of(wanted.get("emails"))[1:]) - set(keys_of(before.get("emails")))
    return sent <= set(keys_of(after.get("emails"))) if sent else None


def fewer_emails(wanted: Value | None, held: Value | None) -> tuple[Element, ...] | None:
    """The addresses without the one that Planfix has just refused: the primary one that it was to get, or, where
    it keeps its own, all additional ones. Empty where the address that it has is wanted no more; None: nothing to
    try."""
    if not isinstance(wanted, tuple) or not wanted:
        return None
    present = keys_of(held)[:1]
    kept_one = tuple(one for one in wanted if one.key in present)
    if kept_one:
        return kept_one if len(wanted) > 1 else None
    return wanted[1:] if len(wanted) > 1 or present else None


def alike_new(sent: Contact, found: Contact) -> bool:
    """Whether a contact that is new in Planfix is the one that was sent: all names, and an e-mail address or a phone
    number. A name alone never matches."""
    if any(sent.get(name, "") != found.get(name, "") for name in NAME_FIELDS):
        return False
    return any(set(keys_of(sent.get(name))) & set(keys_of(found.get(name))) for name in ELEMENT_FIELDS)


def _missing(wanted: Value, after: Value) -> bool:
    return bool(set(keys_of(wanted)) - set(keys_of(after)))


def keys_of(value: Value | None) -> list[str]:
    return [element.key for element in value] if isinstance(value, tuple) else []


def proof(missing: Sequence[int], known: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which of the missing contacts can be asked for together with more known ones, and with which (2.4): no more at
    once than the server has shown at once, so that an answer always cut at the same length proves nothing."""
    usable = [number for number in known if number not in set(missing)]
    some = max((min(GROUP_MAX, len(usable)) - 1) // 2, 1 if len(usable) > 1 else 0)
    count = min(len(missing), some)
    return tuple(missing[:count]), tuple(usable[: count + 1]) if count else ()


def confirmed_missing(asked: Sequence[int], known: Sequence[int], answers: Sequence[Sequence[int]]) -> frozenset[int]:
    """Those of `asked` that no answer holds, if every answer holds all known ones; else none."""
    if len(answers) < 2 or any(set(known) - set(answer) for answer in answers):
        return frozenset()
    return frozenset(asked) - {number for answer in answers for number in answer}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one mutation."""

    outcome: Outcome
    contact: PlanfixContact | None = None
    number: int | None = None
    refused: Mapping[str, str] | None = None
    reason: str = ""
    wrote: bool = False
    otherwise: Contact = field(default_factory=dict)
    """Where a settled mutation is answered again: what Planfix had answered otherwise than it was sent."""
    latest: int = 0
