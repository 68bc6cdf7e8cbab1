"""Filters that are paused, frozen, switched to one-way or back: others merge the fields of what they hold in common.

Each contact of several filters is looked at, and whoever merges it from now on is told, and so is who did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from contactsync.runtime.bus import Fence
from contactsync.writer.account import Account, Changes
from contactsync.writer.identity import Rank, Ranks, merger_of
from contactsync.writer.labels import LabelRecord
from contactsync.writer.letters import Clock, Letter, Outbox
from contactsync_contracts.messages import Handover

HANDOVERS_MAX: Final = 200


async def settle(account: Account, letters: Sequence[Letter], outbox: Outbox, clock: Clock, fence: Fence) -> None:
    """What the letters say of their filters, as far as it is news."""
    changed: dict[str, LabelRecord] = {}
    for letter in letters:
        mutate = letter.mutate
        record = changed.get(mutate.filter_id) or account.labels.get(mutate.filter_id)
        if record is not None and not record.gone and mutate.ranked_at > record.ranked_at:
            changed[mutate.filter_id] = replace(
                record, two_way=mutate.two_way, active=mutate.active, ranked_at=mutate.ranked_at
            )
    if not changed:
        return
    after = {**account.ranks, **{name: Rank(one.two_way, one.active) for name, one in changed.items()}}
    # Told before it is kept: after a crash behind the commit nobody would tell it. Twice does no harm.
    cause = f"ranks-{max(letter.seq for letter in letters)}"
    for filter_id, items in _handovers(account, after).items():
        for at in range(0, len(items), HANDOVERS_MAX):
            part = items[at : at + HANDOVERS_MAX]
            outbox.handovers(filter_id, part, cause, answered_at=clock(), epoch=fence.epoch)
    await outbox.flush()
    await account.commit(fence, Changes(labels=changed))


def _handovers(account: Account, after: Ranks) -> dict[str, list[Handover]]:
    found: dict[str, list[Handover]] = defaultdict(list)
    before = account.ranks
    if sum(not record.gone for record in account.labels.values()) < 2:
        return found
    for contact in sorted(account.people):
        known = account.people.get(contact)
        if known is None or len(known.wants) < 2:
            continue
        old, new = merger_of(known.wants, before), merger_of(known.wants, after)
        if old is not None and new is not None and old != new:
            found[new].append(Handover(contact=contact))
            found[old].append(Handover(contact=contact, merges=False))
    return found
