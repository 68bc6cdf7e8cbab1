"""What people do in Google Contacts themselves, and what an operator of the simulator may ask: the control calls.

The methods named in `CONTROL` are also reachable over HTTP (`http.py`). They cost no quota, are no API calls, and
raise ValueError for what cannot be done. ``account`` is the account's e-mail address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from .google_errors import GoogleError
from .google_groups import GoogleGroups
from .google_people import profile_of
from .google_render import group_json, person_json, view
from .google_schema import READABLE, SINGLETONS, WRITABLE, clean, membership_names
from .google_store import MY_CONTACTS, Account, Elements, GroupVersion, PersonVersion
from .oauth import CONTACTS_SCOPE
from .seed import private_people

ALL_SCOPES: Final = ("openid", "email", CONTACTS_SCOPE)
_DUMPED: Final = view(frozenset(READABLE), ("READ_SOURCE_TYPE_CONTACT",))


class GoogleHands(GoogleGroups):
    CONTROL: frozenset[str] = frozenset(
        {
            "add_account",
            "add_person",
            "add_private_people",
            "add_to_label",
            "count_people",
            "create_label",
            "delete_label",
            "delete_person",
            "dump",
            "edit_person",
            "expire_access_tokens",
            "expire_sync_tokens",
            "issue_tokens",
            "link_profile",
            "merge_people",
            "remove_from_label",
            "rename_label",
            "rename_person_resource",
            "restore_person",
            "reset_counters",
            "counters",
            "revoke_grant",
            "set_account_chooser",
            "set_options",
            "set_photo",
            "touch_all",
        }
    )

    # -- accounts ------------------------------------------------------------------------------------------

    def add_account(self, email: str, sub: str | None = None) -> str:
        """A new, empty account; its ``sub``."""
        if email in self.accounts:
            raise ValueError(f"the account {email} exists")
        sub = sub or str(10**20 + self.rng.getrandbits(60))
        self.accounts[email] = Account(email, sub, self.rng, self.clock())
        self.oauth.add_account(email, sub)
        return sub

    def issue_tokens(self, account: str, scopes: Sequence[str] = ALL_SCOPES) -> dict[str, str]:
        """An access and a refresh token, as if the person had gone through the consent page."""
        return self.oauth.issue(account, frozenset(scopes))

    def revoke_grant(self, account: str) -> int:
        """The person withdraws the access of every application; how many grants that ended."""
        return self.oauth.revoke_all(account)

    def expire_access_tokens(self, account: str) -> None:
        self.oauth.expire_access_tokens(account)

    def set_account_chooser(self, account: str | None) -> None:
        """Who consents without being shown the page; None shows it."""
        self.oauth.options.auto_account = account

    # -- people --------------------------------------------------------------------------------------------

    def add_person(self, account: str, person: Mapping[str, Any]) -> str:
        """A person typed in by hand, from the fields of a Person; its resource name."""
        owner = self.account(account)
        change = self._by_hand(person, WRITABLE)
        groups = membership_names(person.get("memberships"), "person") or (MY_CONTACTS,)
        for group in groups:
            self._known_group(owner, group)
        fields = {name: elements for name, elements in change.items() if elements}
        return owner.add(fields, groups, self.clock(), self.options.list_lag_s).resource_name

    def add_private_people(self, account: str, count: int, seed: int = 1) -> list[str]:
        """Invented people that no filter knows; their resource names."""
        return [self.add_person(account, person) for person in private_people(count, seed)]

    def edit_person(self, account: str, resource_name: str, fields: Mapping[str, Any]) -> None:
        """Replaces the given fields of a Person whole; an empty list clears one."""
        owner, version = self._person(account, resource_name)
        groups = None
        if "memberships" in fields:
            groups = membership_names(fields["memberships"], "person") or (MY_CONTACTS,)
            for group in groups:
                self._known_group(owner, group)
        change = self._by_hand(fields, fields.keys())
        owner.change(version, self.clock(), self.options.list_lag_s, fields=change, groups=groups)

    def delete_person(self, account: str, resource_name: str) -> None:
        """Into the Trash."""
        self.discard(*self._person(account, resource_name))

    def restore_person(self, account: str, resource_name: str) -> None:
        """Out of the Trash, under the same name and with its labels as far as they still exist."""
        owner = self.account(account)
        version = owner.trash.pop(resource_name, None)
        if version is None:
            raise ValueError(f"{resource_name} is not in the Trash")
        groups = tuple(name for name in version.groups if owner.group_exists(name)) or (MY_CONTACTS,)
        owner.change(version, self.clock(), self.options.list_lag_s, groups=groups)

    def merge_people(self, account: str, survivor: str, loser: str) -> None:
        """Merge & fix: the survivor gets the elements and client data of both, the loser is gone for good."""
        owner, kept = self._person(account, survivor)
        _, gone = self._person(account, loser)
        if kept is gone:
            raise ValueError("a person cannot be merged with itself")
        now_s, lag_s = self.clock(), self.options.list_lag_s
        names = kept.fields.keys() | gone.fields.keys()
        fields = {name: _united(name, kept.fields.get(name, ()), gone.fields.get(name, ())) for name in names}
        previous = (loser,) if self.options.merge_names_previous else ()
        groups = tuple(dict.fromkeys((*kept.groups, *gone.groups)))
        owner.change(gone, now_s, lag_s, deleted=True)
        owner.change(kept, now_s, lag_s, fields=fields, groups=groups, previous=previous)

    def rename_person_resource(self, account: str, resource_name: str) -> str:
        """Google gives a person another resource name, as when a profile is linked; the source id stays."""
        owner, version = self._person(account, resource_name)
        now_s, lag_s = self.clock(), self.options.list_lag_s
        new_name = f"people/{self.rng.getrandbits(66)}"
        owner.change(version, now_s, lag_s, deleted=True)
        owner.change(version, now_s, lag_s, resource_name=new_name, previous=(version.resource_name,))
        owner.aliases[version.resource_name] = new_name
        return new_name

    def link_profile(self, account: str, resource_name: str) -> None:
        """The person turns out to have a Google profile, whose values mix into reads that do not exclude them."""
        owner, version = self._person(account, resource_name)
        profile = profile_of(version.fields)
        owner.change(version, self.clock(), self.options.list_lag_s, profile=profile)

    def set_photo(self, account: str, resource_name: str, url: str) -> None:
        owner, version = self._person(account, resource_name)
        owner.change(version, self.clock(), self.options.list_lag_s, photo=url)

    def touch_all(self, account: str) -> int:
        """New etags and update times without any change in content, as Google's night jobs do; how many."""
        owner = self.account(account)
        alive = [version for version in owner.people.current.values() if not version.deleted]
        for version in alive:
            owner.change(version, self.clock(), self.options.list_lag_s)
        return len(alive)

    # -- labels --------------------------------------------------------------------------------------------

    def create_label(self, account: str, name: str) -> str:
        """The resource name of the new label."""
        owner = self.account(account)
        self._free_name(owner, name, None)
        return owner.put_group(None, name, (), self.clock(), self.options.list_lag_s).resource_name

    def rename_label(self, account: str, label: str, name: str) -> None:
        owner, group = self._label(account, label)
        self._free_name(owner, name, group.resource_name)
        lag_s = self.options.list_lag_s
        owner.put_group(group.resource_name, name, group.client_data, self.clock(), lag_s)

    def delete_label(self, account: str, label: str, with_people: bool = False) -> None:
        owner, group = self._label(account, label)
        self.drop_group(owner, group, with_people)

    def add_to_label(self, account: str, resource_name: str, label: str) -> None:
        """``label``: a resource name, or the name that the person gave it."""
        owner, version = self._person(account, resource_name)
        group = self._known_group(owner, label)
        if group not in version.groups:
            self.set_groups(owner, version.resource_name, (*version.groups, group))

    def remove_from_label(self, account: str, resource_name: str, label: str) -> None:
        owner, version = self._person(account, resource_name)
        group = self._known_group(owner, label)
        rest = [name for name in version.groups if name != group]
        self.set_groups(owner, version.resource_name, rest)

    # -- the simulator -------------------------------------------------------------------------------------

    def expire_sync_tokens(self, account: str) -> None:
        """Every sync token given out so far is expired, page tokens of listings under way too."""
        self.account(account).token_epoch += 1

    def set_options(self, **changes: Any) -> None:
        """Fields of `GoogleOptions`, from the next request on."""
        try:
            replace(self.options, **changes)
        except TypeError as error:
            raise ValueError(str(error)) from error
        for name, value in changes.items():
            setattr(self.options, name, value)

    def dump(self, account: str | None = None) -> dict[str, Any]:
        """Everybody and every label as they are now, without lag: ``people``, ``groups``, ``trash`` (names).

        Without ``account``: of the only account, or ``accounts`` by e-mail.
        """
        if account is None and len(self.accounts) != 1:
            return {"accounts": {email: self.dump(email) for email in self.accounts}}
        owner = self.account(account if account is not None else next(iter(self.accounts)))
        alive = [version for version in owner.people.current.values() if not version.deleted]
        groups = [group for group in owner.groups.current.values() if not group.deleted]
        mask = frozenset({"clientData", "groupType", "memberCount", "metadata", "name"})
        return {
            "account": owner.email,
            "sub": owner.sub,
            "people": [orjson.loads(person_json(version, _DUMPED)) for version in alive],
            "groups": [group_json(owner, group, mask) for group in groups],
            "trash": list(owner.trash),
        }

    def count_people(self, account: str) -> int:
        """How many `dump` would show."""
        return sum(not version.deleted for version in self.account(account).people.current.values())

    def shown(self, account: str, resource_name: str) -> dict[str, Any] | None:
        """One person as `dump` shows it, None when there is none of this name."""
        version = self.account(account).person(resource_name)
        return None if version is None else orjson.loads(person_json(version, _DUMPED))

    # -- finding -------------------------------------------------------------------------------------------

    def _by_hand(self, person: Mapping[str, Any], fields: Any) -> dict[str, Elements]:
        try:
            unknown = set(fields) - set(WRITABLE)
            if unknown:
                raise ValueError(f"people cannot write {', '.join(sorted(unknown))}")
            return self.stored(clean(person, fields, "person"))
        except GoogleError as error:
            raise ValueError(error.message) from error

    def _person(self, account: str, resource_name: str) -> tuple[Account, PersonVersion]:
        owner = self.account(account)
        version = owner.person(resource_name)
        if version is None:
            raise ValueError(f"there is no person {resource_name}")
        return owner, version

    def _label(self, account: str, label: str) -> tuple[Account, GroupVersion]:
        owner = self.account(account)
        group = owner.user_group(label) or owner.group_named(label)
        if group is None:
            raise ValueError(f"there is no label {label}")
        return owner, group

    def _known_group(self, owner: Account, label: str) -> str:
        if owner.group_exists(label):
            return label
        group = owner.group_named(label)
        if group is None:
            raise ValueError(f"there is no label {label}")
        return group.resource_name

    def _free_name(self, owner: Account, name: str, own: str | None) -> None:
        taken = owner.group_named(name)
        if not name.strip() or (taken is not None and taken.resource_name != own):
            raise ValueError(f"the label name {name!r} is taken or empty")


def _united(field: str, kept: Elements, gone: Elements) -> list[dict[str, Any]]:
    """Both people's elements; equal ones once, except client data, where duplicates are allowed."""
    if field in SINGLETONS:
        return list(kept or gone)
    if field == "clientData":
        return [*kept, *gone]
    return [*kept, *(each for each in gone if each not in kept)]
