"""The filter's label and the account that it is in: asked for, answered, looked at, lost.

Called by `machine.py` and, for the label's mutation, by `commands.py` and `answers.py`; what a lost label means is
`freeze.py`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterator

from contactsync.reconciler.core import freeze, reasons
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.index import Entry
from contactsync.reconciler.core.link import Link
from contactsync_contracts.messages import AccountObserved, FilterState, LabelObserved, LabelSettled, Outcome

TELL_AGAIN_S = 600.0
LOST = (
    "This list was synchronised with this account before, but what was known of it is lost: people whom you deleted "
    "in Google Contacts would be made again. Look at what would be created, then approve it."
)


def ask_label(draft: Draft, op: str) -> None:
    record = draft.filter
    revision = record.label_revision + 1
    pending = f"{record.filter_id}.label.{revision}"
    draft.amend(label_revision=revision, label_pending=pending, label_op=op, label_again=False)
    draft.wishes.ensure_label = True


def say_again(draft: Draft, now: float) -> None:
    """From time to time. What was settled is answered from memory, without a request; a writer that has lost its
    record finds the label by its stamp, and watchers know again whose it is."""
    record = draft.filter
    if not record.label or record.label_pending or record.frozen or record.leaving is not None:
        return
    if now - record.label_told_at >= TELL_AGAIN_S:
        pending = f"{record.filter_id}.label.{record.label_revision}.{int(now)}"
        draft.amend(label_pending=pending, label_again=True, label_told_at=now)
        draft.wishes.ensure_label = True


def label_settled(draft: Draft, answer: LabelSettled, now: float) -> None:
    record = draft.filter
    if answer.mutation_id != record.label_pending:
        return
    draft.amend(label_pending="", label_again=False, label_told_at=now)
    if answer.outcome is not Outcome.DONE:
        reason = answer.reason or reasons.LABEL_REFUSED
        draft.record = freeze.freeze(draft.filter, reason, label_gone=True)
        return
    if answer.found and not record.label:
        draft.amend(creates_wait=LOST)
    elif answer.found and not record.label_found:
        draft.wishes.google_listing = draft.wishes.google_listing or ""  # nobody was told while it was not known
    draft.amend(label_found=answer.found)
    draft.amend(label=answer.label, label_name=answer.name)
    if record.label and answer.label != record.label:
        draft.amend(relabel_after=0, restored_at=now)
    if record.frozen and record.label_gone:
        draft.record = freeze.thaw(draft.filter, now)
    if record.phase == "label":
        draft.amend(phase="google")
        draft.wishes.google_listing = record.run.run_id if record.run else ""


def needs(draft: Draft, event: LabelObserved) -> set[int]:
    """Contacts whose people seem to have lost the label."""
    return {e.contact for e in draft.index if e.asked == "label" or freeze.lately_dismissed(e, event)}


def label_observed(draft: Draft, event: LabelObserved, now: float) -> None:
    if event.label != draft.filter.label:
        return
    if event.exists and event.name:
        draft.amend(label_name=event.name)  # a human's own name stays, and is shown
    if not event.exists:
        draft.record = freeze.freeze(draft.filter, reasons.LABEL_DELETED, label_gone=True)
    elif not draft.filter.frozen and (lost := freeze.lost_most(_entries(draft), event)):
        draft.record = freeze.freeze(draft.filter, reasons.lost_most(lost), label_gone=False)
    for link in [link for link in draft.links.values() if link is not None]:
        if link.asked == "label" and link.asked_at <= event.seen_at:
            draft.put(_kept(link) if draft.filter.frozen else _told_apart(draft, link, now))
        elif draft.filter.frozen and link.dismissed and freeze.lately_dismissed(Entry(link), event):
            draft.put(_kept(replace(link, dismissed="", dismissed_at=0.0)))


def _kept(link: Link) -> Link:
    """Nobody is dismissed by a freeze: what was seen waits for a human."""
    return replace(link, asked="", due=True)


def _told_apart(draft: Draft, link: Link, now: float) -> Link:
    """The label and most of what is under it are there: a human meant this person."""
    if link.labelled:
        return replace(link, asked="")
    draft.note("google", "dismissed", link.contact)
    reason = reasons.DELETED if link.gone_at else reasons.UNLABELLED
    return replace(link, asked="", dismissed=reason, dismissed_at=now)


def account_observed(draft: Draft, event: AccountObserved) -> None:
    if event.seen_at < draft.filter.account_at:
        return
    draft.amend(account_at=event.seen_at)
    if not event.connected:
        problem = FilterState.RECONNECT_NEEDED.value
        draft.amend(problem=problem, problem_reason=reasons.problem(problem, event.reason))
    else:
        _connected(draft)


def account_answered(draft: Draft, at: float) -> None:
    """Google has answered for this account: whoever told that the grant is dead may not be there any more to tell
    that it is alive again."""
    if at > draft.filter.account_at:
        _connected(draft)


def _connected(draft: Draft) -> None:
    record = draft.filter
    if record.problem != FilterState.RECONNECT_NEEDED.value:
        return
    draft.record = freeze.cleared(record)
    if record.phase == "google":
        draft.wishes.google_listing = record.run.run_id if record.run else ""


def ask_account(draft: Draft) -> None:
    """A filter whose account has to be reconnected looks at it by itself from time to time; without a grant that
    costs no request."""
    if draft.filter.problem == FilterState.RECONNECT_NEEDED.value:
        draft.wishes.google_changes = ""


def _entries(draft: Draft) -> Iterator[Entry]:
    """All links in brief, those of this step as they now are."""
    for entry in draft.index:
        link = draft.links.get(entry.contact)
        yield entry if link is None else Entry(link)
