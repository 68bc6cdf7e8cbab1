"""What each call costs and the windows that it is counted in, for each account (facts/google.md, section 3)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from .google_errors import GoogleError, exhausted, rate_limited
from .google_options import GoogleOptions

MINUTE_S: Final = 60.0
DAY_S: Final = 86_400.0


class Bucket(NamedTuple):
    title: str
    limit_name: str
    metric: str
    window_s: float
    limit: Callable[[GoogleOptions], int]


_PER_MINUTE: Final = "PerMinutePerProjectPerUser"
BUCKETS: Final[dict[str, Bucket]] = {
    "critical_read": Bucket(
        "Critical read requests (Contact and Profile Reads)",
        f"CriticalReads{_PER_MINUTE}",
        "critical_read_requests",
        MINUTE_S,
        lambda options: options.critical_reads_per_minute,
    ),
    "critical_write": Bucket(
        "Critical write requests",
        f"CriticalWrites{_PER_MINUTE}",
        "critical_write_requests",
        MINUTE_S,
        lambda options: options.critical_writes_per_minute,
    ),
    "write": Bucket(
        "Write requests",
        f"Writes{_PER_MINUTE}",
        "write_requests",
        MINUTE_S,
        lambda options: options.writes_per_minute,
    ),
    "group_read": Bucket(
        "Group read requests",
        f"GroupReads{_PER_MINUTE}",
        "group_read_requests",
        MINUTE_S,
        lambda options: options.group_reads_per_minute,
    ),
    "daily_write": Bucket(
        "Daily contact writes",
        "DailyContactWritesPerDayPerProjectPerUser",
        "daily_contact_writes",
        DAY_S,
        lambda options: options.daily_writes,
    ),
    "full_sync": Bucket("Full sync first pages", "", "", MINUTE_S, lambda options: options.full_syncs_per_minute),
}

COSTS: Final[dict[str, Mapping[str, int]]] = {
    "people.connections.list": {"critical_read": 1},
    "people.get": {"critical_read": 1},
    "people.getBatchGet": {"critical_read": 1},
    "people.createContact": {"critical_read": 1, "critical_write": 1, "daily_write": 1},
    "people.updateContact": {"critical_read": 1, "critical_write": 1, "daily_write": 1},
    "people.batchCreateContacts": {"critical_read": 6, "critical_write": 6, "daily_write": 200},
    "people.batchUpdateContacts": {"critical_read": 6, "critical_write": 6, "daily_write": 200},
    "people.deleteContact": {"write": 1},
    "people.batchDeleteContacts": {"write": 10},
    "contactGroups.list": {"group_read": 1},
    "contactGroups.get": {"group_read": 1},
    "contactGroups.batchGet": {"group_read": 1},
    "contactGroups.create": {"write": 1},
    "contactGroups.update": {"write": 1},
    "contactGroups.delete": {"write": 1},
    "contactGroups.members.modify": {"write": 1},
}


@dataclass(slots=True)
class Window:
    """A sliding window: the costs of the last ``window_s`` seconds."""

    window_s: float
    used: int = 0
    spent: deque[tuple[float, int]] = field(default_factory=deque)

    def room(self, now_s: float, cost: int, limit: int) -> bool:
        while self.spent and self.spent[0][0] <= now_s - self.window_s:
            self.used -= self.spent.popleft()[1]
        return limit == 0 or self.used + cost <= limit

    def spend(self, now_s: float, cost: int) -> None:
        self.spent.append((now_s, cost))
        self.used += cost


class AccountQuota:
    """The windows of one account. A refused request costs nothing, an answered error does."""

    def __init__(self) -> None:
        self._windows = {name: Window(bucket.window_s) for name, bucket in BUCKETS.items()}

    def charge(self, costs: Mapping[str, int], now_s: float, options: GoogleOptions, totals: QuotaTotals) -> None:
        """Raises the 429 of the first bucket without room, then takes nothing from any."""
        for name, cost in costs.items():
            bucket = BUCKETS[name]
            if not self._windows[name].room(now_s, cost, bucket.limit(options)):
                totals.refused[name] += 1
                raise _refusal(bucket, options)
        for name, cost in costs.items():
            self._windows[name].spend(now_s, cost)
            totals.used[name] += cost


@dataclass(slots=True)
class QuotaTotals:
    """Costs charged and 429s answered, by bucket."""

    used: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


def _refusal(bucket: Bucket, options: GoogleOptions) -> GoogleError:
    headers = {} if options.retry_after_s is None else {"Retry-After": str(options.retry_after_s)}
    if not bucket.limit_name:
        return exhausted(headers)
    period = "day" if bucket.window_s == DAY_S else "minute"
    return rate_limited(bucket.title, bucket.limit_name, bucket.metric, period, headers)
