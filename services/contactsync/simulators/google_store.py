"""What one simulated Google account holds: people and groups as versions, and the order in which they changed.

A version is never altered, so that lists can show what was there some seconds ago (their propagation delay) and a
page can be cut from a snapshot. Each version keeps its fields ready as JSON; a change renders only what it changed.
"""

from __future__ import annotations

import base64
import random
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

import orjson

from .google_quota import AccountQuota

Elements = Sequence[dict[str, Any]]

MY_CONTACTS: Final = "contactGroups/myContacts"
SYSTEM_GROUPS: Final = {
    "starred": "Starred",
    "friends": "Friends",
    "family": "Family",
    "coworkers": "Coworkers",
    "myContacts": "My Contacts",
    "chatBuddies": "Chat contacts",
    "all": "All Contacts",
    "blocked": "Blocked",
}
ADDABLE_SYSTEM_GROUPS: Final = frozenset({MY_CONTACTS, "contactGroups/starred"})
_PHOTO: Final = "https://lh3.googleusercontent.com/cm/simulated-"


def timestamp(at_s: float) -> str:
    """As protobuf writes it in JSON: no fraction, or three or six digits."""
    moment = datetime.fromtimestamp(at_s, UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    micros = moment.microsecond
    if micros == 0:
        return text + "Z"
    return f"{text}.{micros // 1000:03d}Z" if micros % 1000 == 0 else f"{text}.{micros:06d}Z"


@dataclass(slots=True, eq=False)
class PersonVersion:
    """A person at one time. ``etag`` is the source's without its ``#``; ``pieces`` are fields as JSON."""

    resource_name: str
    source_id: str
    at_s: float
    etag: str
    fields: Mapping[str, Elements]
    groups: tuple[str, ...]
    deleted: bool = False
    photo: str | None = None
    previous: tuple[str, ...] = ()
    profile: Mapping[str, Elements] | None = None
    profile_id: str = ""
    pieces: dict[str, bytes] = field(default_factory=dict)

    def piece(self, path: str) -> bytes:
        """``"path":[...]`` without the profile's elements, empty where the person has none."""
        found = self.pieces.get(path)
        if found is None:
            elements = self.elements(path)
            found = b"" if not elements else orjson.dumps(path) + b":" + orjson.dumps(elements)
            self.pieces[path] = found
        return found

    def elements(self, path: str, with_profile: bool = False) -> list[dict[str, Any]]:
        """A field's elements with their metadata."""
        source = {"type": "CONTACT", "id": self.source_id}
        primary: dict[str, Any] = {"primary": True, "source": source}
        if path == "memberships":
            return [
                {
                    "metadata": {"source": source},
                    "contactGroupMembership": {
                        "contactGroupId": name.partition("/")[2],
                        "contactGroupResourceName": name,
                    },
                }
                for name in self.groups
            ]
        if path == "names":
            primary["sourcePrimary"] = True
        if path == "photos":
            url = self.photo or f"{_PHOTO}default=s100"
            shown = {"metadata": primary, "url": url}
            elements = [shown if self.photo else shown | {"default": True}]
        else:
            elements = [
                {"metadata": {"source": source} if index else primary, **element}
                for index, element in enumerate(self.fields.get(path, ()))
            ]
        if with_profile and self.profile is not None:
            origin = {"source": {"type": "PROFILE", "id": self.profile_id}}
            for element in self.profile.get(path, ()):
                elements.append({"metadata": origin if elements else {"primary": True} | origin, **element})
        return elements


@dataclass(slots=True, eq=False)
class GroupVersion:
    resource_name: str
    name: str
    at_s: float
    etag: str
    client_data: tuple[dict[str, str], ...] = ()
    deleted: bool = False


V = TypeVar("V", PersonVersion, GroupVersion)


class History(Generic[V]):
    """Versions of many things and the log of their changes, both in the order of time."""

    def __init__(self) -> None:
        self.current: dict[str, V] = {}
        self._older: dict[str, list[V]] = {}
        self._log: list[str] = []
        self._log_at_s: list[float] = []

    def put(self, name: str, version: V, lag_s: float) -> None:
        """``lag_s``: how long the version before this one can still be seen in lists."""
        before = self.current.get(name)
        if before is not None:
            kept = self._older.setdefault(name, [])
            kept.append(before)
            horizon_s = version.at_s - lag_s
            while len(kept) > 1 and kept[1].at_s <= horizon_s:
                kept.pop(0)
        self.current[name] = version
        self._log.append(name)
        self._log_at_s.append(version.at_s)

    def position(self, horizon_s: float) -> int:
        """How many changes are visible to a list whose horizon this is."""
        return bisect_right(self._log_at_s, horizon_s)

    def at(self, name: str, horizon_s: float) -> V | None:
        """The version that lists show, None where there was none yet."""
        version = self.current[name]
        if version.at_s <= horizon_s:
            return version
        older = self._older.get(name, ())
        return next((each for each in reversed(older) if each.at_s <= horizon_s), None)

    def everything(self, horizon_s: float) -> list[V]:
        """What a full list shows, deleted ones not."""
        shown = (self.at(name, horizon_s) for name in self.current)
        return [version for version in shown if version is not None and not version.deleted]

    def changed(self, start: int, end: int, horizon_s: float) -> list[V]:
        """What changed between two positions, each once, at the place of its last change; deleted ones too."""
        last = {name: index for index, name in enumerate(self._log[start:end])}
        shown = (self.at(name, horizon_s) for name in sorted(last, key=last.__getitem__))
        return [version for version in shown if version is not None]


class Account:
    """One Google account: its people, trash, groups and quotas."""

    def __init__(self, email: str, sub: str, rng: random.Random, created_s: float) -> None:
        self.email = email
        self.sub = sub
        self.people: History[PersonVersion] = History()
        self.groups: History[GroupVersion] = History()
        self.members: dict[str, dict[str, None]] = {}
        self.trash: dict[str, PersonVersion] = {}
        self.aliases: dict[str, str] = {}
        self.alive = 0
        self.quota = AccountQuota()
        self.token_epoch = 0
        self.in_flight: dict[int, str] = {}
        self._rng = rng
        self._last_s = created_s
        for name in SYSTEM_GROUPS:
            resource = f"contactGroups/{name}"
            self.members[resource] = {}

    # -- people --------------------------------------------------------------------------------------------

    def person(self, resource_name: str) -> PersonVersion | None:
        """The living person of this name or of a name that it had before its resource name changed."""
        version = self.people.current.get(self.aliases.get(resource_name, resource_name))
        return None if version is None or version.deleted else version

    def new_person_name(self) -> tuple[str, str]:
        while True:
            number = self._rng.getrandbits(63) | 1 << 59
            name = f"people/c{number}"
            if name not in self.people.current:
                return name, f"{number:x}"

    def add(
        self,
        fields: Mapping[str, Elements],
        groups: tuple[str, ...],
        now_s: float,
        lag_s: float,
        profile: Mapping[str, Elements] | None = None,
    ) -> PersonVersion:
        name, source_id = self.new_person_name()
        version = PersonVersion(name, source_id, self.tick(now_s), self.new_etag(), fields, groups, profile=profile)
        if profile is not None:
            version.profile_id = str(self._rng.getrandbits(66))
        self.put(version, lag_s)
        return version

    def change(
        self,
        before: PersonVersion,
        now_s: float,
        lag_s: float,
        *,
        fields: Mapping[str, Elements] | None = None,
        groups: tuple[str, ...] | None = None,
        deleted: bool = False,
        previous: Iterable[str] = (),
        photo: str | None = None,
        profile: Mapping[str, Elements] | None = None,
        resource_name: str | None = None,
    ) -> PersonVersion:
        """A new version with a new etag; ``fields`` replaces the given fields whole, the others stay."""
        renewed = {"metadata", *(fields or ()), *(("photos",) if photo else ())}
        if groups is not None:
            renewed.add("memberships")
        version = PersonVersion(
            resource_name or before.resource_name,
            before.source_id,
            self.tick(now_s),
            self.new_etag(),
            {k: v for k, v in {**before.fields, **(fields or {})}.items() if v},
            before.groups if groups is None else groups,
            deleted,
            photo or before.photo,
            (*before.previous, *previous),
            before.profile if profile is None else profile,
            before.profile_id or ("" if profile is None else str(self._rng.getrandbits(66))),
            {path: piece for path, piece in before.pieces.items() if path not in renewed},
        )
        self.put(version, lag_s)
        return version

    def put(self, version: PersonVersion, lag_s: float) -> None:
        name = version.resource_name
        before = self.people.current.get(name)
        had = () if before is None or before.deleted else before.groups
        has = () if version.deleted else version.groups
        if had != has:
            for group in had:
                if group not in has:
                    self.members[group].pop(name, None)
            for group in has:
                self.members[group][name] = None
        self.alive += (not version.deleted) - (before is not None and not before.deleted)
        self.people.put(name, version, lag_s)

    # -- groups --------------------------------------------------------------------------------------------

    def group_exists(self, resource_name: str) -> bool:
        return resource_name in self.members

    def user_group(self, resource_name: str) -> GroupVersion | None:
        version = self.groups.current.get(resource_name)
        return None if version is None or version.deleted else version

    def group_named(self, name: str) -> GroupVersion | None:
        """A user group of this name in whatever case."""
        wanted = name.strip().casefold()
        alive = (group for group in self.groups.current.values() if not group.deleted)
        return next((group for group in alive if group.name.casefold() == wanted), None)

    def put_group(
        self,
        resource_name: str | None,
        name: str,
        client_data: Sequence[dict[str, str]],
        now_s: float,
        lag_s: float,
        deleted: bool = False,
    ) -> GroupVersion:
        resource = resource_name or f"contactGroups/{self._rng.getrandbits(63) | 1 << 59:x}"
        version = GroupVersion(resource, name, self.tick(now_s), self.new_etag(), tuple(client_data), deleted)
        self.groups.put(resource, version, lag_s)
        if deleted:
            self.members.pop(resource, None)
        else:
            self.members.setdefault(resource, {})
        return version

    def member_count(self, resource_name: str) -> int:
        return self.alive if resource_name == "contactGroups/all" else len(self.members[resource_name])

    # -- versions ------------------------------------------------------------------------------------------

    def new_etag(self) -> str:
        return base64.b64encode(self._rng.randbytes(8)).decode()

    def tick(self, now_s: float) -> float:
        """The time of a change: never before an earlier one, so that the log stays in order."""
        self._last_s = max(self._last_s, now_s)
        return self._last_s

    def empty_trash(self, before_s: float) -> None:
        for name in [name for name, version in self.trash.items() if version.at_s < before_s]:
            del self.trash[name]
