"""How long to wait for a vendor that does not answer as it should: longer each time, and not for ever."""

from __future__ import annotations

from typing import Final

from contactsync.errors import Unavailable, VendorError

AGAIN_S: Final = 5.0
LONGEST_S: Final = 60.0


class Patience:
    """A minute at most, so that an hour's outage costs a request a minute and ends within one. Pauses that a quota
    asks for are its own to know."""

    def __init__(self) -> None:
        self._failures = 0

    def after(self, error: VendorError) -> float:
        """Seconds until the next try."""
        if isinstance(error, Unavailable) and error.bucket is not None:
            return error.retry_after_s
        asked_s = error.retry_after_s if isinstance(error, Unavailable) else AGAIN_S
        self._failures += 1
        return max(asked_s, min(AGAIN_S * 2.0 ** (self._failures - 1), LONGEST_S))

    def rewarded(self) -> None:
        """It answers."""
        self._failures = 0
