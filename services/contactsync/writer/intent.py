"""Creates that were sent and not yet answered: what must be looked for before anything is sent again.

Pure. The record is committed before a create leaves and cleared in the commit that stores its outcome, so that it
survives any crash in between. A create counts as not done only when a listing that began `lag_s` after it lacks the
stamp (Google's lists may lag behind writes by minutes). `google_creates.py` uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import orjson

from contactsync_contracts.messages import GooglePerson

CHECKS_S: Final = (1.0, 5.0, 15.0, 30.0)
"""Seconds after sending at which the lists are looked through; then every 60 s up to the lag."""

AGAIN_S: Final = 5.0
AGAIN_MAX_S: Final = 600.0

SINGLE_AFTER: Final = 2
REFUSE_AFTER: Final = 5


@dataclass(frozen=True, slots=True)
class Sent:
    """When a create was last sent, how often, and whether it is known by now that it was not done. `gone`: nothing
    was sent, but the contact's person is not there any more by this name; it may be by another one."""

    sent_at: float
    tries: int = 1
    absent: bool = False
    gone: str = ""


Intent = dict[int, Sent]


def encode_intent(intent: Mapping[int, Sent]) -> bytes | None:
    if not intent:
        return None
    return orjson.dumps({str(c): [s.sent_at, s.tries, s.absent] for c, s in intent.items()})


def decode_intent(data: bytes, vanished: Callable[[int], str]) -> Intent:
    """vanished: by which name a contact's person is not there any more, as its own record has it."""
    intent = {}
    for contact, (sent_at, tries, absent, *_) in orjson.loads(data).items():
        gone = "" if tries else vanished(int(contact))
        intent[int(contact)] = Sent(sent_at, tries, absent, gone)
    return intent


def sending(intent: Mapping[int, Sent], contacts: Iterable[int], now: float) -> Intent:
    """The record before these are sent."""
    after = dict(intent)
    for contact in contacts:
        before = after.get(contact)
        after[contact] = Sent(now, before.tries + 1 if before else 1)
    return after


def disappeared(intent: Mapping[int, Sent], names: Mapping[int, str], now: float) -> Intent:
    """The record with these contacts (to the name by which their person was last known), who are looked for at once,
    unless they were, or a create was sent since."""
    looked_for = {c for c, name in names.items() if (sent := intent.get(c)) and (sent.tries or sent.gone == name)}
    new = {c: Sent(now - CHECKS_S[0], 0, gone=name) for c, name in names.items() if c not in looked_for}
    return {**intent, **new}


def without(intent: Mapping[int, Sent], contacts: Collection[int]) -> Intent:
    return {contact: sent for contact, sent in intent.items() if contact not in contacts}


def unresolved(intent: Mapping[int, Sent]) -> set[int]:
    return {contact for contact, sent in intent.items() if not sent.absent}


def next_look(intent: Mapping[int, Sent], last_began: float, lag_s: float, again_s: float = AGAIN_S) -> float | None:
    """When (Unix seconds) the account is to be listed next; None when nothing is open. `last_began`: the latest
    listing's start, 0 for none; `again_s`: how long after it the next one is due when none is planned."""
    times = [_next(sent.sent_at, last_began, lag_s, again_s) for sent in intent.values() if not sent.absent]
    return min(times) if times else None


def matured(intent: Mapping[int, Sent], began: float, lag_s: float) -> bool:
    """Whether a listing that began at `began` could prove that a person is not there."""
    return any(not sent.absent and (sent.gone or began >= sent.sent_at + lag_s) for sent in intent.values())


def again_s(doubts: int) -> float:
    """The pause before the next listing, after so many in a row that proved nothing."""
    return min(AGAIN_MAX_S, AGAIN_S * 2.0 ** min(doubts, 16))


def _next(sent_at: float, last_began: float, lag_s: float, again_s: float) -> float:
    planned = [sent_at + after for after in CHECKS_S if after < lag_s]
    at = sent_at + 60.0
    while at < sent_at + lag_s:
        planned.append(at)
        at += 60.0
    planned.append(sent_at + lag_s)
    return next((at for at in planned if at > last_began), last_began + again_s)


def looked(
    intent: Mapping[int, Sent], people: Iterable[GooglePerson], began: float, lag_s: float, gone_s: float
) -> tuple[Intent, dict[int, GooglePerson]]:
    """What a complete listing that began at `began` says: the record after it, and the people found. Of two people
    with one stamp the one with the lower source id counts (2-semantics 2.2). It proves absence `lag_s` after a create
    was sent, and `gone_s` after a person was not there by its name any more, unless it still shows that name: a
    list that lags shows it as it was, never not at all."""
    found: dict[int, GooglePerson] = {}
    behind: set[int] = set()
    for person in people:
        for stamp in person.stamps:
            sent, rival = intent.get(stamp.contact), found.get(stamp.contact)
            if sent is not None and sent.gone == person.resource:
                behind.add(stamp.contact)
            elif sent is not None and (rival is None or person.source_id < rival.source_id):
                found[stamp.contact] = person
    after: Intent = {}
    for contact, sent in intent.items():
        if contact not in found:
            proof_s = gone_s if sent.gone else lag_s
            over = sent.absent or (contact not in behind and began >= sent.sent_at + proof_s)
            after[contact] = replace(sent, absent=over)
    return after, found
