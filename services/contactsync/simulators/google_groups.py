"""Methods on contact groups (labels) of the simulated People API, and the memberships that they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from .google_base import Query, read_json
from .google_errors import GoogleError, invalid, not_found, stale_etag, unknown_name
from .google_lists import SyncPoint, digest, sealed, unsealed
from .google_people import GooglePeople
from .google_render import DEFAULT_GROUP_MASK, group_json, system_group_json
from .google_schema import GROUP_FIELDS, body_object, read_mask
from .google_store import (
    ADDABLE_SYSTEM_GROUPS,
    MY_CONTACTS,
    SYSTEM_GROUPS,
    Account,
    GroupVersion,
)
from .wire import Request

MEMBERS_MAX: Final = 1000
BATCH_GET_MAX: Final = 200
_GROUP_KEYS: Final = frozenset(
    {
        "clientData",
        "etag",
        "formattedName",
        "groupType",
        "memberCount",
        "memberResourceNames",
        "metadata",
        "name",
        "resourceName",
    }
)
_SYSTEM: Final = tuple(f"contactGroups/{name}" for name in SYSTEM_GROUPS)


class GoogleGroups(GooglePeople):
    # -- reading -------------------------------------------------------------------------------------------

    def list_groups(self, account: Account, request: Request) -> bytes:
        query = Query(request, ("groupFields", "pageSize", "pageToken", "syncToken"))
        size = query.number("pageSize", 30, MEMBERS_MAX)
        mask = _group_mask(query.text("groupFields"))
        sync_token, page_token = query.text("syncToken"), query.text("pageToken")
        if self.faults.semantic(request, "expire_sync_tokens"):
            account.token_epoch += 1
        if sync_token is None:
            groups, point = self._all_groups(account, request, mask)
        else:
            groups, point = self._changed_groups(account, request, sync_token, mask)
        start = 0
        if page_token is not None:
            page_point = unsealed(page_token)
            if page_point.kind != "groups page" or page_point.digest != digest(request, ("pageToken",)):
                raise invalid()
            start = page_point.position
        total = len(groups)
        page = groups[start : start + size]
        fault = self.faults.first(request, "short_page", "empty_page", "capped_list")
        if fault is not None:
            keep = 0 if fault.kind == "empty_page" else len(page) // 2 if fault.keep is None else fault.keep
            page = page[:keep]
            groups, total = groups[: start + len(page)], total if fault.honest else start + len(page)
        answer: dict[str, Any] = {"contactGroups": page} if page else {}
        if total:
            answer["totalItems"] = total
        if start + size < len(groups):
            next_page = SyncPoint(account.sub, "groups page", start + size, 0.0, 0, digest(request, ("pageToken",)))
            answer["nextPageToken"] = sealed(next_page)
        # Given unasked and, as recorded, on every page.
        return orjson.dumps(answer | {"nextSyncToken": sealed(point)})

    def _all_groups(
        self, account: Account, request: Request, mask: frozenset[str]
    ) -> tuple[list[dict[str, Any]], SyncPoint]:
        horizon_s = self.horizon_s
        point = SyncPoint(
            account.sub,
            "groups",
            account.groups.position(horizon_s),
            self.clock(),
            account.token_epoch,
            digest(request, ("pageToken", "syncToken")),
        )
        alive = [group for group in account.groups.everything(horizon_s) if group.resource_name in account.members]
        shown = [group_json(account, group, mask) for group in alive]
        return shown + [system_group_json(account, name, mask) for name in _SYSTEM], point

    def _changed_groups(
        self, account: Account, request: Request, token: str, mask: frozenset[str]
    ) -> tuple[list[dict[str, Any]], SyncPoint]:
        before = unsealed(token)
        foreign = before.account != account.sub or before.kind != "groups"
        if foreign or before.digest != digest(request, ("pageToken", "syncToken")):
            raise invalid()
        self.check_age(account, before)
        horizon_s = self.horizon_s
        end = max(before.position, account.groups.position(horizon_s))
        changed = account.groups.changed(before.position, end, horizon_s)
        point = SyncPoint(account.sub, "groups", end, before.full_s, before.epoch, before.digest)
        shown = [
            group_json(account, group, mask)
            for group in changed
            if group.deleted or group.resource_name in account.members
        ]
        return shown, point

    def get_group(self, account: Account, name: str, request: Request) -> bytes:
        query = Query(request, ("groupFields", "maxMembers", "resourceName"))
        members_max = query.number("maxMembers", 0)
        return orjson.dumps(self._group(account, name, _group_mask(query.text("groupFields")), members_max))

    def batch_get_groups(self, account: Account, request: Request) -> bytes:
        query = Query(request, ("groupFields", "maxMembers", "resourceNames"))
        names, members_max = query.texts("resourceNames"), query.number("maxMembers", 0)
        mask = _group_mask(query.text("groupFields"))
        if not 0 < len(names) <= BATCH_GET_MAX:
            raise invalid(f"Between 1 and {BATCH_GET_MAX} resource names are needed.")
        responses = []
        for name in names:
            try:
                group = self._group(account, name, mask, members_max)
                responses.append({"requestedResourceName": name, "status": {}, "contactGroup": group})
            except GoogleError as error:
                responses.append({"requestedResourceName": name, "status": error.rpc_status()})
        return orjson.dumps({"responses": responses})

    def _group(self, account: Account, name: str, mask: frozenset[str], members_max: int) -> dict[str, Any]:
        if name in _SYSTEM:
            return system_group_json(account, name, mask, members_max)
        return group_json(account, self._user_group(account, name), mask, members_max)

    # -- writing -------------------------------------------------------------------------------------------

    def create_group(self, account: Account, request: Request) -> bytes:
        Query(request)
        body = body_object(read_json(request), ("contactGroup", "readGroupFields"))
        group = _group_body(body)
        mask = _write_mask(body)
        name = _group_name(group)
        self._check_name(account, name, None)
        data = _client_data(group)
        made = account.put_group(None, name, data, self.clock(), self.options.list_lag_s)
        return orjson.dumps(group_json(account, made, mask))

    def update_group(self, account: Account, name: str, request: Request) -> bytes:
        Query(request, ("resourceName",))
        body = body_object(read_json(request), ("contactGroup", "readGroupFields", "updateGroupFields"))
        group = _group_body(body)
        fields = read_mask(body.get("updateGroupFields") or "name", "updateGroupFields", ("clientData", "name"))
        mask = _write_mask(body)
        before = self._user_group(account, name)
        etag = group.get("etag")
        if etag is None and self.options.group_etag_required:
            raise invalid("Request must set contact_group.etag.")
        if etag and etag != before.etag:
            raise stale_etag()
        new_name = _group_name(group) if "name" in fields else before.name
        self._check_name(account, new_name, before.resource_name)
        data = _client_data(group) if "clientData" in fields else before.client_data
        after = account.put_group(before.resource_name, new_name, data, self.clock(), self.options.list_lag_s)
        return orjson.dumps(group_json(account, after, mask))

    def delete_group(self, account: Account, name: str, request: Request) -> bytes:
        query = Query(request, ("deleteContacts", "resourceName"))
        with_people = query.boolean("deleteContacts")
        group = self._user_group(account, name)
        if with_people:
            self.violation(account, "delete_contacts_with_group", group=name)
        self.drop_group(account, group, with_people)
        return b"{}"

    def modify_members(self, account: Account, name: str, request: Request) -> bytes:
        Query(request, ("resourceName",))
        body = body_object(read_json(request), ("resourceNamesToAdd", "resourceNamesToRemove"))
        adding = _names(body, "resourceNamesToAdd")
        removing = _names(body, "resourceNamesToRemove")
        if not 0 < len(adding) + len(removing) <= MEMBERS_MAX:
            raise invalid(f"Between 1 and {MEMBERS_MAX} resource names are needed.")
        if not account.group_exists(name):
            raise not_found()
        if adding and name in _SYSTEM and name not in ADDABLE_SYSTEM_GROUPS:
            raise invalid(f"Contacts cannot be added to the system contact group {name}.")
        missing: list[str] = []
        last: list[str] = []
        for person_name in dict.fromkeys((*adding, *removing)):
            version = account.person(person_name)
            if version is None:
                missing.append(person_name)
            elif person_name in adding:
                if name not in version.groups:
                    self.set_groups(account, person_name, (*version.groups, name))
            elif version.groups == (name,):
                last.append(person_name)
            elif name in version.groups:
                self.set_groups(account, person_name, tuple(g for g in version.groups if g != name))
        answer: dict[str, Any] = {}
        if missing:
            answer["notFoundResourceNames"] = missing
        if last:
            answer["canNotRemoveLastContactGroupResourceNames"] = last
        return orjson.dumps(answer)

    def set_groups(self, account: Account, person_name: str, groups: Sequence[str]) -> None:
        version = account.person(person_name)
        if version is None:
            raise not_found()
        lag_s = self.options.list_lag_s
        account.change(version, self.clock(), lag_s, groups=tuple(groups) or (MY_CONTACTS,))

    def drop_group(self, account: Account, group: GroupVersion, with_people: bool) -> None:
        """The members lose the label; one without another falls back to My Contacts."""
        for person_name in list(account.members[group.resource_name]):
            version = account.person(person_name)
            if version is None:
                continue
            if with_people:
                self.discard(account, version)
            else:
                rest = tuple(name for name in version.groups if name != group.resource_name)
                self.set_groups(account, person_name, rest)
        account.put_group(
            group.resource_name,
            group.name,
            group.client_data,
            self.clock(),
            self.options.list_lag_s,
            deleted=True,
        )

    def _user_group(self, account: Account, name: str) -> GroupVersion:
        if name in _SYSTEM:
            raise invalid("System contact groups cannot be changed.")
        group = account.user_group(name)
        if group is None:
            raise not_found()
        return group

    def _check_name(self, account: Account, name: str, own: str | None) -> None:
        taken = account.group_named(name)
        reserved = name.casefold() in {each.casefold() for each in (*SYSTEM_GROUPS, *SYSTEM_GROUPS.values())}
        if reserved or (taken is not None and taken.resource_name != own):
            raise GoogleError(409, "ALREADY_EXISTS", "Contact group name already exists.")


def _group_mask(text: str | None) -> frozenset[str]:
    return read_mask(text, "groupFields", GROUP_FIELDS) if text else DEFAULT_GROUP_MASK


def _write_mask(body: Mapping[str, Any]) -> frozenset[str]:
    text = body.get("readGroupFields") or "metadata,groupType,name"
    return read_mask(text, "readGroupFields", GROUP_FIELDS - {"memberCount"})


def _group_body(body: Mapping[str, Any]) -> dict[str, Any]:
    return body_object(body.get("contactGroup", {}), _GROUP_KEYS, "contact_group")


def _group_name(group: Mapping[str, Any]) -> str:
    name = group.get("name")
    if not isinstance(name, str) or not name.strip():
        raise invalid("Contact group name must not be empty.")
    return name.strip()


def _client_data(group: Mapping[str, Any]) -> list[dict[str, str]]:
    data = group.get("clientData") or []
    if not isinstance(data, list):
        raise invalid("Invalid value at 'contact_group.client_data'")
    for index, each in enumerate(data):
        at = f"contact_group.client_data[{index}]"
        if not isinstance(each, dict) or not all(isinstance(value, str) for value in each.values()):
            raise invalid(f"Invalid value at '{at}'")
        for key in each.keys() - {"key", "value"}:
            raise unknown_name(key, at)
    return [dict(each) for each in data]


def _names(body: Mapping[str, Any], key: str) -> list[str]:
    names = body.get(key) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise invalid(f"Invalid value at '{key}'")
    return names
