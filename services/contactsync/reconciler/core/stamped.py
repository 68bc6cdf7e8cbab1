"""A contact's stamp on another person than its own: people were merged in Google, or one was copied (2.2).

The person that is known stays the partner while it is there. Once a look-up says that it is gone, the link follows
its stamp: to a person that is nobody's yet, or it becomes *merged* into the contact whose person that is.
`seen_google.py` asks here; a merge that Google names itself (`previous`) is followed there.
"""

from __future__ import annotations

from contactsync.reconciler.core import reasons, settle
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.link import Link
from contactsync.reconciler.core.merge import Side
from contactsync_contracts.messages import GooglePerson, Kept


def stamps_seen(draft: Draft, person: GooglePerson, owner: int | None) -> None:
    """`owner`: the contact that the person is the partner of."""
    for stamp in person.stamps:
        link = draft.links.get(stamp.contact)
        if stamp.contact == owner or link is None or link.merged_into is not None:
            continue
        if link.resource in (None, person.resource) or draft.decisions.apart(stamp.contact, person.resource):
            continue
        if link.dismissed == reasons.DELETED and owner is not None:
            draft.put(settle.merged(link, owner))
        elif not link.dismissed:
            if link.stamp_on != person.resource:
                draft.put(replace(link, stamp_on=person.resource))
            draft.wishes.people.add(link.resource or "")


def followed(draft: Draft, link: Link, now: float) -> Link | None:
    """The link whose person is gone, where its stamp was seen on another one."""
    at = link.stamp_on
    if not at or link.dismissed or link.merged_into is not None or draft.decisions.apart(link.contact, at):
        return None
    if link.pending is not None and link.pending.side is Side.GOOGLE:
        return None
    holder = draft.index.owner_of(at)
    if holder is not None and holder != link.contact:
        draft.amend(left_at=now)
        return settle.merged(link, holder)
    draft.drop_named(at)
    return replace(
        link,
        resource=at,
        stamp_on="",
        source_id="",
        etag="",
        google=None,
        google_hash=0,
        google_at=0.0,
        raw=None,
        own=Kept.ADOPTED,
        stamped=False,
        asked="person",
        asked_at=now,
    )
