"""Planfix's date filters speak wall-clock minutes of the token's employee; this turns a moment into one.

Every doubt is decided towards the earlier minute: a contact seen twice costs a comparison, one not seen is lost.
`client.py` feeds it the time points of the contacts that it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

MARGIN: Final = timedelta(minutes=2)
"""Minute granularity, and `gt` may leave out the minute itself."""
WESTERNMOST: Final = timedelta(hours=-12)
EASTERNMOST: Final = timedelta(hours=14)
FRESH_S: Final = 6 * 3600
"""An offset read off a time point this old still holds now, unless the clocks are just being changed."""


class WallClock:
    """`zone`: the employee's time zone if it is configured, else it is discovered as an offset."""

    def __init__(self, zone: str | None, clock: Callable[[], float]) -> None:
        self._zone = None if zone is None else ZoneInfo(zone)
        self._clock = clock
        self._offset: timedelta | None = None
        self._offset_at_s = float("-inf")

    def learn(self, point: object) -> None:
        """Takes a TimePoint (`datetime` is local despite its Z, `dateTimeUtcSeconds` is UTC); anything else is
        ignored."""
        if self._zone is not None or not isinstance(point, Mapping):
            return
        found = _offset_of(point)
        if found is not None and found[0] > self._offset_at_s:
            self._offset_at_s, self._offset = found

    def minute(self, moment_s: float) -> str:
        """`dd-mm-yyyy hh:mm` at or, in doubt, before the moment (Unix seconds)."""
        moment = datetime.fromtimestamp(moment_s, UTC) - MARGIN
        if self._zone is not None:
            local = moment.astimezone(self._zone)
            twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
            if twice and local.fold == 0:
                # Read as its second pass it would be an hour late.
                local = (moment - timedelta(hours=1)).astimezone(self._zone)
        else:
            local = moment + self._surely_not_later()
        return local.strftime("%d-%m-%Y %H:%M")

    def tomorrow(self) -> str:
        """A minute that has not come yet in any time zone."""
        return (datetime.fromtimestamp(self._clock(), UTC) + EASTERNMOST + timedelta(days=1)).strftime(
            "%d-%m-%Y %H:%M"
        )

    def _surely_not_later(self) -> timedelta:
        if self._offset is None:
            return WESTERNMOST
        fresh = abs(self._clock() - self._offset_at_s) <= FRESH_S
        return self._offset if fresh else self._offset - timedelta(hours=1)


def _offset_of(point: Mapping[str, Any]) -> tuple[float, timedelta] | None:
    """The moment and the offset of local time from UTC then, in quarters of an hour."""
    try:
        utc = datetime.fromisoformat(str(point["dateTimeUtcSeconds"]))
        local = datetime.fromisoformat(str(point["datetime"]).removesuffix("Z")).replace(tzinfo=UTC)
    except (KeyError, ValueError):
        return None
    if utc.tzinfo is None:
        return None
    quarters = round((local - utc.astimezone(UTC)) / timedelta(minutes=15))
    offset = timedelta(minutes=15 * quarters)
    return (utc.timestamp(), offset) if WESTERNMOST <= offset <= EASTERNMOST else None
