"""Facts and bases of one link from what the writer made of its mutation."""

from __future__ import annotations

from contactsync.hashing import content_hash
from contactsync.reconciler.core import reasons
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.link import Hold, Link, Pending, anew
from contactsync.reconciler.core.merge import Rules, Side, Write, advance
from contactsync.reconciler.core.observe import element_of, google_now, planfix_now, shows
from contactsync_contracts.contact import ELEMENT_FIELDS, NAME_FIELDS, Contact
from contactsync_contracts.messages import GooglePerson, Kept, Outcome, PlanfixContact, SettledItem


def settled(link: Link, item: SettledItem, rules: Rules, answered_at: float, label: str, now: float) -> Link | None:
    """The link after its mutation was answered; None when nothing is left of it. `item` is about the mutation
    under way: older answers are filtered out before."""
    pending = link.pending
    if pending is None:
        return link
    if behind(link, item):
        # Our state is older than what was done; what a human did since is found again.
        known = link
        link = replace(link, revision=item.latest)
        if item.outcome is Outcome.GONE and pending.op != "remove":
            return _thrown_away(known, link, item, now)
    match item.outcome:
        case Outcome.DONE if pending.op == "remove":
            return _removed(link, item)
        case Outcome.DONE if pending.op == "release":
            return replace(link, pending=None, released=True)
        case Outcome.DONE:
            return _done(link, pending, item, rules, answered_at, now)
        case Outcome.LABELLED:
            own = item.kept or link.own
            asks = replace(link, pending=None, merges=False, released=False, own=own, adopt=False)
            done = _take_person(asks, item.person)
            if done.resource is None:
                return replace(done, asked="match", asked_at=now, matched=False)
            return replace(done, labelled=True, stamped=True)
        case Outcome.STALE:
            free = replace(link, pending=None, leaving=False)
            seen = _take_planfix(_see_person(free, item.person, label), item.planfix, answered_at)
            if item.latest:
                seen = _recognised(seen, item)
            # An answer that shows nothing new would be merged into the same write again.
            return replace(seen, asked="person", asked_at=now) if seen == free and link.resource else seen
        case Outcome.GONE if pending.side is Side.GOOGLE and item.removed and not link.dismissed:
            # Another filter let go of it in the same moment, and we deleted it: no human did.
            return replace(anew(link), limits=link.limits) if link.member or link.kept else None
        case Outcome.GONE if pending.side is Side.GOOGLE:
            return person_gone(replace(link, pending=None), answered_at, now)
        case Outcome.GONE:
            # Absence from one answer means nothing yet: a look-up confirms it.
            if link.member or link.kept:
                return replace(link, pending=None, hold=Hold("held_back", reasons.CHECKING))
            return replace(link, pending=None, hold=None, leaving=True)
        case Outcome.READ_ONLY:
            return replace(
                link, pending=None, read_only=True, limits={**link.limits, **_stay_in_google(link, pending)}
            )
        case Outcome.FULL:
            return replace(link, pending=None, hold=Hold("held_back", reasons.ACCOUNT_FULL))
        case Outcome.REFUSED:
            if link.leaving and pending.side is Side.PLANFIX:
                return replace(link, pending=None)
            reason = reasons.refused(pending.side.value, item.reason)
            return replace(link, pending=None, leaving=pending.op == "remove", hold=Hold("quarantined", reason))


def behind(link: Link, item: SettledItem) -> bool:
    """Whether the writer has done more than this link knows of: at least another write by the same number."""
    return 0 < link.revision <= item.latest


def _recognised(link: Link, item: SettledItem) -> Link:
    """The writer knows the person of a link whose state is old or was lost. Only one stamp alone says whose it is."""
    stamped = link.stamped
    if item.person is not None and item.person.stamps:
        stamped = all(stamp.contact == link.contact for stamp in item.person.stamps)
    return replace(link, own=link.own or item.kept, stamped=stamped)


def _thrown_away(known: Link, link: Link, item: SettledItem, now: float) -> Link | None:
    """A human deleted the person (or took it out of the label: then it is told) after the state that we have."""
    free = replace(link, pending=None, asked="", hold=None, due=False)
    if not known.member and not known.kept:
        return None
    if item.person is None:
        return replace(free, labelled=False, dismissed=reasons.DELETED, dismissed_at=now)
    return replace(_take_person(free, item.person), labelled=False, dismissed=reasons.UNLABELLED, dismissed_at=now)


def person_gone(link: Link, at: float, now: float) -> Link | None:
    """The person is not in Google any more (a look-up by name said so at `at`). Whether a human deleted this one, or
    most of what is under the label, is told once the label itself was looked at."""
    if link.dismissed or link.merged_into is not None or link.gone_at:
        return replace(link, pending=None)
    if link.own is None and not link.labelled:
        # It was only about to be adopted: look for another partner.
        return replace(anew(link), limits=link.limits)
    if not link.member and not link.kept:
        return None
    return replace(
        link, pending=None, asked="label", asked_at=now, labelled=False, gone_at=max(at, 1.0), hold=None, due=False
    )


def _removed(link: Link, item: SettledItem) -> Link | None:
    """The label came off. A contact that came back in the meantime is linked again, from the start."""
    if not link.member and not link.kept:
        return None
    if link.undoing is not None and link.undoing.unlink:
        return let_go(_take_person(link, item.person), link.undoing.unlink)
    return replace(anew(link), released=False)


def let_go(link: Link, reason: str) -> Link:
    """Dismissed; what is known of the person stays, so that older sights of it are told from newer ones."""
    return replace(
        link,
        pending=None,
        asked="",
        labelled=False,
        stamped=False,
        leaving=False,
        hold=None,
        undoing=None,
        released=True,
        dismissed=reason,
    )


def _done(link: Link, pending: Pending, item: SettledItem, rules: Rules, answered_at: float, now: float) -> Link:
    if pending.op == "ensure":
        return _created(link, item, now)
    if pending.side is Side.GOOGLE:
        answer = item.person.fields if item.person is not None else _remembered(link.google, pending, item)
        after = _take_person(replace(link, pending=None), item.person)
        overtaken = item.person is not None and item.person.updated_at < link.google_at
        if item.person is None and pending.target:
            after = _assume_google(after, _seen_since(link.google, pending, answer), now)
        labelled = link.labelled if overtaken else True
        own = link.own or _kept(pending)
        after = replace(after, labelled=labelled, stamped=True, own=own, adopt=False, merges=True, released=False)
    else:
        answer = item.planfix.fields if item.planfix is not None else _remembered(link.planfix, pending, item)
        after = _take_planfix(replace(link, pending=None), item.planfix, answered_at)
        if item.planfix is None:
            seen = _seen_since(link.planfix, pending, answer)
            after = planfix_now(after, seen, content_hash(seen), link.planfix_at)
        after = replace(after, planfix_wrote=answered_at)
    write = Write(pending.side, pending.source, pending.before, answer)
    base_planfix, base_google = advance(link.base_planfix, link.base_google, write, rules)
    after = replace(after, base_planfix=base_planfix, base_google=base_google)
    return _note_refused(after, pending, item, answer)


def _created(link: Link, item: SettledItem, now: float) -> Link:
    """`base_planfix` already holds what was sent (`plan._create`)."""
    person = item.person
    if person is None:
        # Done before a take-over; who it is, its stamp tells.
        return replace(link, pending=None, asked="match", asked_at=now, matched=False)
    sent = link.base_planfix or {}
    return replace(
        _take_person(link, person),
        pending=None,
        own=item.kept or Kept.OURS,
        labelled=True,
        stamped=True,
        merges=True,
        released=False,
        base_google={name: person.fields[name] for name in sent if name in person.fields},
        limits={**link.limits, **person.limits, **item.refused},
    )


def _kept(pending: Pending) -> Kept | None:
    return Kept.ADOPTED if pending.op == "adopt" else None


def _take_person(link: Link, person: GooglePerson | None) -> Link:
    """The answer is what the person is; nothing if something newer has been seen since."""
    if person is None or (link.google is not None and person.updated_at < link.google_at):
        return link
    after = google_now(link, person, content_hash(person.fields), person.updated_at)
    return replace(after, limits={**link.limits, **person.limits})


def _see_person(link: Link, person: GooglePerson | None, label: str) -> Link:
    """What the person was instead, with or without the label."""
    after = _take_person(link, person)
    return after if person is None or after is link else replace(after, labelled=label in person.labels)


def _remembered(now: Contact | None, pending: Pending, item: SettledItem) -> Contact:
    """What was answered, from the writer's memory: as asked for, but for what it says was not. The side is looked at
    to be sure."""
    return {**(now or {}), **pending.target, **item.otherwise}


def _seen_since(now: Contact | None, pending: Pending, answer: Contact) -> Contact:
    """What a side shows after such an answer; where it was seen changed since the write was decided, that stands."""
    seen = now or {}
    return seen | {n: answer[n] for n in pending.target if seen.get(n) == pending.before.get(n)}


def _assume_google(link: Link, content: Contact, now: float) -> Link:
    return replace(link, google=content, google_hash=content_hash(content), asked="person", asked_at=now)


def _take_planfix(link: Link, contact: PlanfixContact | None, read_at: float) -> Link:
    if contact is None or read_at < link.planfix_at:
        return link
    return planfix_now(link, contact.fields, content_hash(contact.fields), read_at)


def _note_refused(link: Link, pending: Pending, item: SettledItem, answer: Contact) -> Link:
    """Name what was not taken, per element where the field has elements. A name that Planfix cannot do without is
    restored in Google: it counts as Planfix's change, against the empty one that Google has."""
    limits = {known: reason for known, reason in link.limits.items() if _stays(known, link, pending)}
    limits.update(item.person.limits if item.person is not None else {})
    base_planfix = dict(link.base_planfix or {})
    for name, reason in item.refused.items():
        wanted, taken = pending.target.get(name), answer.get(name)
        if name in ELEMENT_FIELDS and isinstance(wanted, tuple) and isinstance(taken, tuple):
            there = {element.key for element in taken}
            limits.update({f"{name}:{e.key}": reason for e in wanted if e.key not in there})
        elif name in NAME_FIELDS and pending.side is Side.PLANFIX and pending.target.get(name) == "":
            base_planfix[name] = ""
        else:
            limits[name] = reason
    return replace(link, limits=limits, base_planfix=base_planfix)


def _stay_in_google(link: Link, pending: Pending) -> dict[str, str]:
    """What Google had before there was any agreement, and Planfix cannot be given: it is not taken away, and the
    sides differ for good. (What was agreed on is given back to Google.)"""
    agreed, there = link.base_planfix or {}, link.planfix or {}
    found: dict[str, str] = {}
    for name, wanted in pending.target.items():
        if name in agreed:
            continue
        if isinstance(wanted, tuple):
            found |= {f"{name}:{e.key}": reasons.STAYS_IN_GOOGLE for e in wanted if not shows(there, name, e.key)}
        elif not there.get(name):
            found[name] = reasons.STAYS_IN_GOOGLE
    return found


def _stays(known: str, link: Link, pending: Pending) -> bool:
    """Whether a reason outlives a write: it is about another field, or about an element that Google alone still has
    after a write to Google."""
    about = element_of(known)
    if (about[0] if about is not None else known) not in pending.target:
        return True
    if about is None or pending.side is Side.PLANFIX:
        return False
    return shows(link.google or {}, *about) and not shows(link.planfix or {}, *about)


def is_gone(link: Link) -> bool:
    """Nothing is left of its person: deleted by a human, or merged into another contact's."""
    return link.merged_into is not None or link.dismissed == reasons.DELETED


def merged(link: Link, survivor: int) -> Link:
    """The person was merged into another contact's in Google: this contact is not created again."""
    return replace(link, pending=None, asked="", resource=None, labelled=False, merged_into=survivor, hold=None)
