"""Whose a Google account is: the employee who connected it first; another one is refused (2-semantics 2.4)."""

from __future__ import annotations

import orjson

from contactsync.runtime.bus import Bus, Conflict


class Owners:
    """One record `state.account.<a>.owner` each. Raises `bus.Transient`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def owner(self, account: str) -> int | None:
        """The employee's number; None while nobody has connected the account."""
        record = await self._bus.get(owner_key(account))
        return None if record is None else int(orjson.loads(record.value)["owner"])

    async def claim(self, account: str, employee: int) -> bool:
        """Make the account the employee's; False when somebody else was first."""
        if (owner := await self.owner(account)) is None:
            try:
                await self._bus.cas(owner_key(account), orjson.dumps({"owner": employee}), 0)
            except Conflict:
                owner = await self.owner(account)
            else:
                return True
        return owner == employee


def owner_key(account: str) -> str:
    return f"state.account.{account}.owner"
