"""One contact's fields into Planfix, so that a field which it refuses holds up no other (2-semantics 2.6).

Where an answer names the field, that one is left out; an e-mail address gives way to the next one. Where it names
none, the fields are halved until the refused one is alone. `planfix_target.py` and `planfix_creates.py` use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from contactsync.errors import OutcomeUnknown, Rejected
from contactsync.planfix.port import PlanfixApi, Written
from contactsync.writer.batching import halves
from contactsync.writer.planfix_batch import fewer_emails
from contactsync_contracts.contact import Contact
from contactsync_contracts.messages import Class


@dataclass(slots=True)
class FieldsWritten:
    """What came of all requests. refused: field to reason. whole: Planfix refused everything and named nothing, so
    that it is the contact rather than a field. unknown: an answer was lost. requests: how many there were."""

    written: Written = field(default_factory=lambda: Written(sent=False))
    refused: dict[str, str] = field(default_factory=dict)
    whole: str = ""
    unknown: bool = False
    requests: int = 0


async def write_fields(
    api: PlanfixApi,
    number: int,
    fields: Contact,
    *,
    is_company: bool,
    phones: Sequence[Mapping[str, object]],
    current: Contact,
    cls: Class,
) -> FieldsWritten:
    """Raises Gone, AccessDenied and Unavailable as they come."""
    result = FieldsWritten()
    parts: list[Contact] = [dict(fields)]
    named_any = False
    while parts:
        part = parts.pop()
        result.requests += 1
        emails = fewer_emails(part.get("emails"), current.get("emails"))
        try:
            more = await api.update_contact(
                number, part, is_company=is_company, phones=phones, current=current, cls=cls
            )
        except OutcomeUnknown:
            result.unknown = True
            return result
        except Rejected as error:
            named = {name: reason for name, reason in error.items.items() if name in part}
            named_any = named_any or bool(named)
            if not named and len(part) > 1:
                parts += [{name: part[name] for name in names} for names in reversed(halves(list(part)))]
                continue
            result.whole = error.reason
            result.refused |= named or dict.fromkeys(part, error.reason)
            rest = {name: value for name, value in part.items() if name not in named} if named else {}
            if "emails" in named and emails is not None:
                rest["emails"] = emails
            parts += [rest] if rest else []
            continue
        result.refused = {**more.refused, **result.refused}
        sent, queued = more.sent or result.written.sent, more.queued or result.written.queued
        result.written = replace(more, sent=sent, queued=queued)
        if "email" in more.failures and emails is not None:
            parts.append({"emails": emails})
    if named_any or result.written.sent:
        result.whole = ""
    return result
