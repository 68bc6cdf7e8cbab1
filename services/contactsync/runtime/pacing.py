"""How many requests may leave now: logs of what left, and the waiting time of the next one.

Pure. A vendor's "N a minute" is read as: in no window of 60 s more than N (a bucket that refills would let twice
as much through at its edge). `quota.py` keeps these values in shared records and does the waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from contactsync_contracts.messages import Class

MINUTE_S: Final = 60.5
"""A minute, and what two requests may be delayed differently on their way; clocks that follow one server's differ by
a part of that."""
LEAVE_S: Final = 1.0
"""A request counts from so long after it was granted, and must have left by then: who was held up for longer asks
anew."""
FLIGHT_S: Final = 6.0
"""A request to Planfix without an answer has arrived by then, if ever."""
DAY_S: Final = 86_400.0
DAY_GRAIN_S: Final = 900.0
"""The log of a day counts per quarter of an hour, each request as if it had left at its end."""
ASKED_S: Final = 60.0
"""How long a class keeps its share free after it last asked."""
SHARE: Final = {Class.HUMAN: 0.0, Class.CHANGE: 0.1, Class.BACKGROUND: 0.2}
"""The part of a window that a class leaves to the ones above it while they are asking."""
RANK: Final = {Class.HUMAN: 0, Class.CHANGE: 1, Class.BACKGROUND: 2}

BACK_OFF_S: Final = 300.0
BACK_OFF_MAX_S: Final = 6 * 3600.0

READ, WRITE, DELETE, GROUP, DAILY = "critical_read", "critical_write", "write", "group_read", "daily"
MUTATIONS: Final = "mutations"
"""No quota of Google's: closed while its own limit of the account is reached."""

_ONE_WRITE: Final = {MUTATIONS: 0, READ: 1, WRITE: 1, DAILY: 1}
_BATCH: Final = {MUTATIONS: 0, READ: 6, WRITE: 6, DAILY: 200}
_OTHER_WRITE: Final = {MUTATIONS: 0, DELETE: 1}
GOOGLE_COSTS: Final[Mapping[str, Mapping[str, int]]] = {
    "list_people": {READ: 1},
    "get_person": {READ: 1},
    "get_people": {READ: 1},
    "create_person": _ONE_WRITE,
    "update_person": _ONE_WRITE,
    "create_people": _BATCH,
    "update_people": _BATCH,
    "delete_person": _OTHER_WRITE,
    "list_labels": {GROUP: 1},
    "get_label": {GROUP: 1},
    "create_label": _OTHER_WRITE,
    "update_label": _OTHER_WRITE,
    "modify_members": _OTHER_WRITE,
}
"""What a call is charged, whatever the size of a batch (Google's guide "Read and Manage Contacts")."""


@dataclass(frozen=True, slots=True)
class Window:
    """What left: (time, cost) from old to new. Nothing leaves before `closed_until`."""

    log: tuple[tuple[float, int], ...] = ()
    closed_until: float = 0.0

    def used(self, now: float, window_s: float) -> int:
        return sum(cost for at, cost in self.log if at > now - window_s)


def reserve(
    window: Window, now: float, cost: int, limit: int, window_s: float = MINUTE_S, grain_s: float = 0.0
) -> tuple[Window, float]:
    """The window with this request in it and 0, or as it was and the seconds to wait. Limit 0: no limit."""
    wait_s = waiting(window, now, cost, limit, window_s)
    return (window, wait_s) if wait_s > 0 else (_add(window, now, cost, limit, window_s, grain_s), 0.0)


def waiting(window: Window, now: float, cost: int, limit: int, window_s: float) -> float:
    """Seconds until `cost` more fits. A cost above the limit waits for an empty window."""
    wait_s = max(0.0, window.closed_until - now)
    if not limit or not cost:
        return wait_s
    used = window.used(now, window_s)
    room = max(limit - cost, 0)
    for at, spent in window.log:
        if used <= room:
            break
        if at > now - window_s:
            used -= spent
            wait_s = max(wait_s, at + window_s - now)
    return wait_s


def _add(window: Window, now: float, cost: int, limit: int, window_s: float, grain_s: float) -> Window:
    if not limit or not cost:
        return window
    at = (now // grain_s + 1) * grain_s if grain_s else now
    kept = tuple(entry for entry in window.log if entry[0] > now - window_s)
    if kept and kept[-1][0] >= at:
        at, before = kept[-1]
        return replace(window, log=(*kept[:-1], (at, before + cost)))
    return replace(window, log=(*kept, (at, cost)))


# --- one Google account -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Book:
    """The windows of one account by metric, who asked last, and Google's own limit. Times never run backwards:
    `seen` is the latest one."""

    windows: Mapping[str, Window] = field(default_factory=dict)
    asked: Mapping[str, float] = field(default_factory=dict)
    seen: float = 0.0
    back_offs: int = 0
    backed_off_until: float = 0.0


def span(metric: str) -> tuple[float, float]:
    """Length and grain of a metric's window."""
    return (DAY_S, DAY_GRAIN_S) if metric == DAILY else (MINUTE_S, 0.0)


def reserve_all(
    book: Book, now: float, costs: Mapping[str, int], limits: Mapping[str, int], cls: Class, leave_s: float = 0.0
) -> tuple[Book, float, str]:
    """All metrics of a call or none of them: the book, the seconds to wait, and the metric that makes it wait. The
    request leaves within `leave_s`, and counts as if it left at the end of that."""
    now = max(now, book.seen)
    book = _ask(book, now, cls)
    longest, because = 0.0, ""
    for metric, cost in costs.items():
        limit = limits.get(metric, 0)
        usable = share(limit, cost, book.asked, now, cls)
        wait_s = waiting(book.windows.get(metric, Window()), now, cost, usable, span(metric)[0])
        if wait_s > longest:
            longest, because = wait_s, metric
    if longest > 0:
        return book, longest, because
    windows = dict(book.windows)
    for metric, cost in costs.items():
        if limits.get(metric, 0) and cost:
            window = windows.get(metric, Window())
            windows[metric] = _add(window, now + leave_s, cost, limits[metric], *span(metric))
    changed = windows != book.windows
    return (replace(book, windows=windows, seen=now) if changed else book), 0.0, ""


def share(limit: int, cost: int, asked: Mapping[str, float], now: float, cls: Class) -> int:
    """The part of a window that this class may use now: all of it unless a class above has asked lately."""
    if not limit:
        return 0
    above = any(RANK[Class(name)] < RANK[cls] and at > now - ASKED_S for name, at in asked.items())
    return max(cost, int(limit * (1 - SHARE[cls]))) if above else limit


def _ask(book: Book, now: float, cls: Class) -> Book:
    """Only a change worth a write: once in a quarter of the time that it counts."""
    if cls is Class.BACKGROUND or now - book.asked.get(cls.value, -DAY_S) < ASKED_S / 4:
        return book
    return replace(book, asked={**book.asked, cls.value: now}, seen=now)


def close(book: Book, now: float, metrics: tuple[str, ...], pause_s: float) -> Book:
    """The vendor said that these are used up."""
    now = max(now, book.seen)
    windows = dict(book.windows)
    for metric in metrics:
        window = windows.get(metric, Window())
        windows[metric] = replace(window, closed_until=max(window.closed_until, now + pause_s))
    return replace(book, windows=windows, seen=now)


def back_off(book: Book, now: float) -> tuple[Book, float]:
    """Google's own limit of the account: five minutes, doubling to six hours while it keeps being reached.

    Several processes that report one episode do not make it longer; six quiet hours forget it.
    """
    now = max(now, book.seen)
    if now < book.backed_off_until:
        return book, book.backed_off_until - now
    level = 0 if now > book.backed_off_until + BACK_OFF_MAX_S else book.back_offs
    pause_s = min(BACK_OFF_MAX_S, BACK_OFF_S * 2**level)
    closed = close(book, now, (MUTATIONS,), pause_s)
    return replace(closed, back_offs=min(level + 1, 10), backed_off_until=now + pause_s), pause_s


def remaining(book: Book, now: float, limits: Mapping[str, int]) -> dict[str, int]:
    """What is left of each limited metric."""
    now = max(now, book.seen)
    left: dict[str, int] = {}
    for metric, limit in limits.items():
        if limit:
            window = book.windows.get(metric, Window())
            closed = window.closed_until > now
            left[metric] = 0 if closed else max(0, limit - window.used(now, span(metric)[0]))
    return left


# --- Planfix ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pace:
    """When the last request to Planfix started, the log of the day, and who asked last. flight: the request that has
    no answer yet, and until when it may arrive."""

    last_start: float = 0.0
    day: Window = Window()
    asked: Mapping[str, float] = field(default_factory=dict)
    vendor_left: int | None = None
    vendor_said_at: float = 0.0
    flight: str = ""
    flight_until: float = 0.0


def spacing(requests_per_second: float) -> float:
    """Seconds between two starts, with a twentieth (at most 50 ms) for the way to the vendor. 0: no limit."""
    if not requests_per_second:
        return 0.0
    bare = 1 / requests_per_second
    return bare + min(0.05, bare / 20)


def in_flight(pace: Pace, now: float) -> bool:
    return bool(pace.flight) and now < pace.flight_until


def start(pace: Pace, now: float, spacing_s: float, per_day: int, cls: Class, flight: str = "") -> tuple[Pace, float]:
    """The pace with a start in it and 0, or the seconds to wait. `flight`: a name for this request, until `ended`."""
    now = max(now, pace.last_start)
    if cls is not Class.BACKGROUND and now - pace.asked.get(cls.value, -DAY_S) > max(spacing_s, 1.0):
        pace = replace(pace, asked={**pace.asked, cls.value: now})
    usable = share(per_day, 1, pace.asked, now, cls)
    gap = spacing_s * _stretch(pace, now, per_day, cls)
    if any(RANK[Class(n)] < RANK[cls] and at > now - 2 * spacing_s for n, at in pace.asked.items()):
        # Whoever waits in another process and comes first by rank finds the next place free.
        gap = max(gap, 1.5 * spacing_s)
    last = max(pace.last_start, pace.flight_until if pace.flight else 0.0)
    wait_s = max(last + gap - now if last else 0.0, waiting(pace.day, now, 1, usable, DAY_S))
    if wait_s > 0:
        return pace, wait_s
    day = _add(pace.day, now, 1, per_day, DAY_S, DAY_GRAIN_S)
    left = None if pace.vendor_left is None else max(0, pace.vendor_left - 1)
    until = now + FLIGHT_S if flight and spacing_s else 0.0
    started = replace(pace, last_start=now, day=day, vendor_left=left, flight=flight, flight_until=until)
    return started, 0.0


def ended(pace: Pace, now: float, flight: str) -> Pace:
    """The request was answered or given up. Until then it may have arrived at any moment, and what Planfix counts is
    arrivals: the next one leaves a spacing after this. Nothing if somebody else's has started since."""
    if pace.flight != flight:
        return pace
    return replace(pace, last_start=max(pace.last_start, now), flight="", flight_until=0.0)


def _stretch(pace: Pace, now: float, per_day: int, cls: Class) -> float:
    """Below half of the day's requests background work slows down in proportion, to a tenth of its speed."""
    if cls is not Class.BACKGROUND or not per_day:
        return 1.0
    left = day_left(pace, now, per_day)
    return min(10.0, max(1.0, 0.5 * per_day / left if left else 10.0))


def day_left(pace: Pace, now: float, per_day: int) -> int:
    """By our log, or by what Planfix said within the last hour if that is less."""
    left = max(0, per_day - pace.day.used(now, DAY_S))
    if pace.vendor_left is not None and pace.vendor_said_at > now - 3600:
        return min(left, pace.vendor_left)
    return left


def told(pace: Pace, now: float, left: int) -> Pace:
    """Planfix said how many requests are left of its day. Only news worth a write change anything."""
    if pace.vendor_left is not None and now - pace.vendor_said_at < 300 and abs(pace.vendor_left - left) < 50:
        return pace
    return replace(pace, vendor_left=left, vendor_said_at=now)


def halt(pace: Pace, now: float, pause_s: float) -> Pace:
    """Planfix said 429."""
    until = max(pace.day.closed_until, max(now, pace.last_start) + pause_s)
    return replace(pace, day=replace(pace.day, closed_until=until))


# --- a record that cannot be read -------------------------------------------------------------------------


def full_book(now: float, limits: Mapping[str, int]) -> Book:
    """Everything that is counted by the minute is closed for one; what was used of the day nobody knows."""
    metrics = tuple(metric for metric in limits if metric != DAILY)
    return close(Book(), now, metrics, MINUTE_S)


def full_pace(now: float) -> Pace:
    return Pace(last_start=now, flight="?", flight_until=now + FLIGHT_S)


# --- as JSON ----------------------------------------------------------------------------------------------


def _window_json(window: Window) -> dict[str, Any]:
    return {"log": window.log, "closed": window.closed_until}


def _window(json: Mapping[str, Any]) -> Window:
    return Window(tuple((float(at), int(cost)) for at, cost in json["log"]), float(json["closed"]))


def book_json(book: Book) -> dict[str, Any]:
    return {
        "windows": {metric: _window_json(window) for metric, window in book.windows.items()},
        "asked": dict(book.asked),
        "seen": book.seen,
        "back_offs": book.back_offs,
        "backed_off_until": book.backed_off_until,
    }


def to_book(json: Mapping[str, Any]) -> Book:
    return Book(
        windows={metric: _window(window) for metric, window in json["windows"].items()},
        asked=dict(json["asked"]),
        seen=float(json["seen"]),
        back_offs=int(json["back_offs"]),
        backed_off_until=float(json["backed_off_until"]),
    )


def pace_json(pace: Pace) -> dict[str, Any]:
    return {
        "last_start": pace.last_start,
        "day": _window_json(pace.day),
        "asked": dict(pace.asked),
        "vendor_left": pace.vendor_left,
        "vendor_said_at": pace.vendor_said_at,
        "flight": pace.flight,
        "flight_until": pace.flight_until,
    }


def to_pace(json: Mapping[str, Any]) -> Pace:
    left = json["vendor_left"]
    return Pace(
        last_start=float(json["last_start"]),
        day=_window(json["day"]),
        asked=dict(json["asked"]),
        vendor_left=None if left is None else int(left),
        vendor_said_at=float(json["vendor_said_at"]),
        flight=str(json.get("flight", "")),
        flight_until=float(json.get("flight_until", 0.0)),
    )
