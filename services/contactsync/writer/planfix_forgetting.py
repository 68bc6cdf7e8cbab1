"""A filter is over: what the writer kept of its contacts in Planfix is erased, and nothing asked before is written.

A mark with the filter's birth time stays for a while, so that an old message that comes again writes nothing.
`planfix_target.py` asks here before anything else; the Google side is `forgetting.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from contactsync.runtime.bus import Bus, Fence, Put
from contactsync.runtime.state import commit_all
from contactsync.writer.letters import Clock, Letter, Outbox
from contactsync_contracts import subjects

MARK_TTL_S: Final = 30 * 86_400
INTENTS: Final = "state.planfix.intent."
DONE: Final = "state.planfix.done."


def gone_key(filter_id: str) -> str:
    return f"state.planfix.gone.{subjects.token(filter_id)}"


class PlanfixForgetting:
    def __init__(self, bus: Bus, outbox: Outbox, clock: Clock) -> None:
        self._bus, self._outbox, self._clock = bus, outbox, clock

    async def settle(self, letters: Sequence[Letter], answered: set[str], fence: Fence) -> list[Letter]:
        """Forget what is to be forgotten; the letters that still count."""
        for letter in letters:
            wish, filter_id = letter.mutate.forget, letter.mutate.filter_id
            if wish is None or wish.mutation_id in answered:
                continue
            await self._erase(filter_id, letter.mutate.since, fence)
            self._outbox.forgotten(filter_id, wish, answered_at=self._clock(), epoch=fence.epoch)
            await self._outbox.flush()
            answered.add(wish.mutation_id)
        gone = await self._gone({letter.mutate.filter_id for letter in letters})
        return [one for one in letters if one.mutate.since > gone.get(one.mutate.filter_id, -1.0)]

    async def _gone(self, filters: set[str]) -> dict[str, float]:
        """Filter to the birth time of the life that is over."""
        keys = {gone_key(filter_id): filter_id for filter_id in filters}
        records = await self._bus.load_keys(list(keys)) if keys else {}
        return {keys[key]: float(orjson.loads(record.value)["since"]) for key, record in records.items()}

    async def _erase(self, filter_id: str, since: float, fence: Fence) -> None:
        gone = (await self._gone({filter_id})).get(filter_id, -1.0)
        if since < gone:
            return
        puts = [
            Put(stored.key, None)
            async for stored in self._bus.load(f"state.planfix.rev.{subjects.token(filter_id)}.")
        ]
        for prefix in (INTENTS, DONE):
            async for stored in self._bus.load(prefix):
                if subjects.untoken(stored.key.removeprefix(prefix)).startswith(f"{filter_id}."):
                    puts.append(Put(stored.key, None))
        mark = Put(gone_key(filter_id), orjson.dumps({"since": since}), ttl_s=MARK_TTL_S)
        await commit_all(self._bus, fence, puts, [mark])
