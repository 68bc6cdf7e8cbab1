"""`people.connections.list`: snapshots in pages, deltas, and tokens bound to the request that got them.

A sync token is self-contained and signed: a position in the account's log, the full listing's time, and a digest of
every other parameter. Page tokens point at snapshots that the simulator keeps.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from .faults import Fault
from .google_base import GLOBAL_PARAMETERS, GoogleBase, Query
from .google_errors import expired_sync_token, invalid
from .google_render import person_json, view
from .google_store import Account, PersonVersion
from .wire import Request

DAY_S: Final = 86_400.0
SNAPSHOTS_MAX: Final = 64
_KEY: Final = b"simulated google"
_PARAMETERS: Final = (
    "pageSize",
    "pageToken",
    "personFields",
    "requestMask.includeField",
    "requestSyncToken",
    "resourceName",
    "sortOrder",
    "sources",
    "syncToken",
)
_SORT_ORDERS: Final = (
    "LAST_MODIFIED_ASCENDING",
    "LAST_MODIFIED_DESCENDING",
    "FIRST_NAME_ASCENDING",
    "LAST_NAME_ASCENDING",
)


@dataclass(frozen=True, slots=True)
class SyncPoint:
    """``position`` in the log, ``full_s`` when the full listing began, ``epoch`` of the account's tokens."""

    account: str
    kind: str
    position: int
    full_s: float
    epoch: int
    digest: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A listing under way: what its pages are cut from, and the token that its last page gives."""

    key: str
    versions: Sequence[PersonVersion]
    next_point: SyncPoint
    digest: str


def digest(request: Request, without: Iterable[str]) -> str:
    """Of all parameters except these and Google's global ones; ``sources`` in their order, masks as written."""
    left_out = frozenset(without) | GLOBAL_PARAMETERS
    rest = sorted((name, list(values)) for name, values in request.query.items() if name not in left_out)
    return hashlib.blake2b(orjson.dumps([request.path, rest]), digest_size=9).hexdigest()


def sealed(point: SyncPoint) -> str:
    body = orjson.dumps([point.account, point.kind, point.position, point.full_s, point.epoch, point.digest])
    return base64.urlsafe_b64encode(_sign(body) + body).decode()


def unsealed(token: str) -> SyncPoint:
    """Raises 400 INVALID_ARGUMENT for anything that is not a token of ours."""
    try:
        raw = base64.urlsafe_b64decode(token)
    except (binascii.Error, ValueError) as error:
        raise invalid() from error
    signature, body = raw[:9], raw[9:]
    if not hmac.compare_digest(signature, _sign(body)):
        raise invalid()
    return SyncPoint(*orjson.loads(body))


def _sign(body: bytes) -> bytes:
    return hashlib.blake2b(body, key=_KEY, digest_size=9).digest()


class GoogleLists(GoogleBase):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._snapshots: OrderedDict[str, Snapshot] = OrderedDict()
        self._listings = 0

    def list_connections(self, account: Account, request: Request) -> bytes:
        query = Query(request, _PARAMETERS)
        size = query.number("pageSize", 100, 1000)
        wants_token = query.boolean("requestSyncToken")
        sync_token = query.text("syncToken")
        page_token = query.text("pageToken")
        if query.text("sortOrder") not in (None, *_SORT_ORDERS):
            raise invalid()
        shown = view(query.mask("personFields"), query.sources(), listing=True, sync=sync_token is not None)
        if self.faults.semantic(request, "expire_sync_tokens"):
            account.token_epoch += 1
        point = None if sync_token is None else self._point(account, sync_token, request)
        if page_token is None:
            start, snapshot = 0, self._begin(account, request, point)
        else:
            start, snapshot = self._continue(account, request, page_token)
        fault = self.faults.first(request, "short_page", "empty_page", "capped_list")
        if fault is not None:
            page, total, more = _cut(snapshot.versions, start, size, fault)
        else:
            page, total = snapshot.versions[start : start + size], len(snapshot.versions)
            more = start + size < total
        answer: dict[str, Any] = {}
        if page:
            pieces = b",".join([person_json(version, shown) for version in page])
            answer["connections"] = orjson.Fragment(b"[" + pieces + b"]")
        if more:
            answer["nextPageToken"] = self._page_token(snapshot, start + size)
        elif wants_token:
            answer["nextSyncToken"] = sealed(snapshot.next_point)
        if total:
            answer["totalPeople"] = answer["totalItems"] = total
        return orjson.dumps(answer)

    def full_sync_cost(self, request: Request) -> dict[str, int]:
        """The first page of a full listing with a sync token has a quota of its own."""
        query = request.query
        first = not query.get("syncToken") and not query.get("pageToken")
        return {"full_sync": 1} if first and query.get("requestSyncToken") else {}

    def _point(self, account: Account, token: str, request: Request) -> SyncPoint:
        point = unsealed(token)
        if point.account != account.sub or point.kind != "people":
            raise invalid()
        if point.digest != digest(request, ("pageToken", "syncToken")):
            raise invalid()
        self.check_age(account, point)
        return point

    def check_age(self, account: Account, point: SyncPoint) -> None:
        """Seven days after the full listing, however often deltas were fetched since."""
        age_s = self.clock() - point.full_s
        if point.epoch != account.token_epoch or age_s >= self.options.sync_token_days * DAY_S:
            raise expired_sync_token()

    def _begin(self, account: Account, request: Request, point: SyncPoint | None) -> Snapshot:
        horizon_s = self.horizon_s
        position = account.people.position(horizon_s)
        versions: Sequence[PersonVersion]
        if point is None:
            versions = account.people.everything(horizon_s)
        else:
            position = max(position, point.position)
            versions = account.people.changed(point.position, position, horizon_s)
        next_point = SyncPoint(
            account.sub,
            "people",
            position,
            self.clock() if point is None else point.full_s,
            account.token_epoch,
            digest(request, ("pageToken", "syncToken")),
        )
        self._listings += 1
        return Snapshot(f"{self._listings:x}", versions, next_point, digest(request, ("pageToken",)))

    def _page_token(self, snapshot: Snapshot, start: int) -> str:
        self._snapshots[snapshot.key] = snapshot
        self._snapshots.move_to_end(snapshot.key)
        while len(self._snapshots) > SNAPSHOTS_MAX:
            self._snapshots.popitem(last=False)
        return base64.urlsafe_b64encode(f"{snapshot.key}.{start}".encode()).decode()

    def _continue(self, account: Account, request: Request, token: str) -> tuple[int, Snapshot]:
        try:
            key, start = base64.urlsafe_b64decode(token).decode().split(".")
            snapshot = self._snapshots[key]
            index = int(start)
        except (binascii.Error, ValueError, KeyError) as error:
            raise invalid() from error
        foreign = snapshot.next_point.account != account.sub
        if foreign or snapshot.digest != digest(request, ("pageToken",)):
            raise invalid()
        self.check_age(account, snapshot.next_point)
        return index, snapshot


def _cut(
    versions: Sequence[PersonVersion], start: int, size: int, fault: Fault
) -> tuple[Sequence[PersonVersion], int, bool]:
    """A page that lost its end and says that nothing more comes; with ``honest``, its total still tells."""
    page = versions[start : start + size]
    if fault.kind == "capped_list":
        most = len(versions) // 2 if fault.keep is None else fault.keep
        page = page[: max(0, most - start)]
        return page, len(versions) if fault.honest else min(most, len(versions)), start + size < most
    keep = 0 if fault.kind == "empty_page" else (len(page) // 2 if fault.keep is None else fault.keep)
    page = page[:keep]
    return page, len(versions) if fault.honest else start + len(page), False
