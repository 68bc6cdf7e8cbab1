"""Giving memory back to the machine."""

from __future__ import annotations

import ctypes
import gc
import time
from contextlib import suppress
from typing import Final

EVERY_S: Final = 60.0

_last = 0.0


def give_back() -> None:
    """After much was let go of, not more than once a minute: it takes a twentieth of a second in a large process.

    Cycles are looked for, which happens rarely by itself (`cli_run`), and the C library returns its free pages, which
    it otherwise keeps for ever.
    """
    global _last
    now = time.monotonic()
    if now - _last < EVERY_S:
        return
    _last = now
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)
