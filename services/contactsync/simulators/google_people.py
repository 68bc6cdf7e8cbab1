"""Methods on people of the simulated People API: get, create, update, delete, and their batches.

`google_schema.py` reads the bodies, `google_elements.py` derives what the server adds, `google_render.py` answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from .google_base import Query, checked_sources, read_json
from .google_elements import derive, reformatted
from .google_errors import (
    GoogleError,
    batch_failed,
    contacts_overflow,
    invalid,
    not_found,
    stale_etag,
)
from .google_etags import version_named_by
from .google_lists import DAY_S, GoogleLists
from .google_render import View, person_json, view
from .google_schema import (
    READABLE,
    WRITABLE,
    body_object,
    check_size,
    clean,
    membership_names,
    read_mask,
)
from .google_store import ADDABLE_SYSTEM_GROUPS, MY_CONTACTS, SYSTEM_GROUPS, Account, Elements, PersonVersion
from .wire import Request

BATCH_MAX: Final = 200
BATCH_DELETE_MAX: Final = 500
_READ: Final = ("personFields", "requestMask.includeField", "resourceName", "sources")
_NO_ETAG: Final = "Request must set person.etag or person.metadata.sources.etag for the source that is being updated."
_NO_MASK: Final = (
    "{} mask is required. Please specify one or more valid paths. Valid paths are documented at the method."
)


@dataclass(frozen=True, slots=True)
class Change:
    """What a body does to a person; ``groups`` None leaves the memberships alone."""

    fields: Mapping[str, Elements]
    groups: tuple[str, ...] | None = None


class GooglePeople(GoogleLists):
    # -- reading -------------------------------------------------------------------------------------------

    def get_person(self, account: Account, name: str, request: Request) -> bytes:
        query = Query(request, _READ)
        shown = view(query.mask("personFields"), query.sources())
        if name == "people/me":
            return self._me(account, shown)
        version = account.person(name)
        if version is None:
            raise not_found()
        return person_json(version, shown)

    def batch_get_people(self, account: Account, request: Request) -> bytes:
        query = Query(request, (*_READ, "resourceNames"))
        shown = view(query.mask("personFields"), query.sources())
        names = query.texts("resourceNames")
        if not names or len(names) > BATCH_MAX:
            raise invalid(f"Between 1 and {BATCH_MAX} resource names are needed.")
        responses = []
        for name in dict.fromkeys(names):
            version = account.person(name)
            if version is None:
                gone = not_found()
                responses.append(
                    {"requestedResourceName": name, "httpStatusCode": gone.code, "status": gone.rpc_status()}
                )
            else:
                responses.append(_response(name, version, shown))
        return orjson.dumps({"responses": responses})

    def _me(self, account: Account, shown: View) -> bytes:
        source = {"type": "PROFILE", "id": account.sub}
        metadata = {"primary": True, "verified": True, "source": source}
        me: dict[str, Any] = {"resourceName": f"people/{account.sub}", "etag": f"%{account.sub}"}
        if "metadata" in shown.paths:
            me["metadata"] = {"sources": [source], "objectType": "PERSON"}
        if "emailAddresses" in shown.paths:
            me["emailAddresses"] = [{"metadata": metadata, "value": account.email}]
        return orjson.dumps(me)

    # -- creating ------------------------------------------------------------------------------------------

    def create_contact(self, account: Account, request: Request) -> bytes:
        query = Query(request, ("personFields", "sources"))
        shown = view(query.mask("personFields", required=False), query.sources())
        change = self._new(account, body_object(read_json(request)), "person")
        self._check_room(account, 1)
        return person_json(self._add(account, change), shown)

    def batch_create(self, account: Account, request: Request) -> bytes:
        Query(request)
        body = body_object(read_json(request), ("contacts", "readMask", "sources"))
        shown = _read_view(body)
        contacts = body.get("contacts")
        if not isinstance(contacts, list) or not 0 < len(contacts) <= BATCH_MAX:
            raise invalid(f"Between 1 and {BATCH_MAX} contacts are needed.")
        changes: dict[int, Change] = {}
        errors: dict[str, GoogleError] = {}
        for index, item in enumerate(contacts):
            body_object(item, ("contactPerson",), f"contacts[{index}]")
            at = f"contacts[{index}].contact_person"
            try:
                changes[index] = self._new(account, body_object(item.get("contactPerson", {})), at)
            except GoogleError as error:
                errors[str(index)] = _unless_whole(error)
        if errors and self.options.atomic_batches:
            raise batch_failed("Create", errors, self.options.named_errors)
        self._check_room(account, len(changes))
        added = [self._add(account, change) for change in changes.values()]
        if shown is None:
            return b"{}"
        people = [_response(version.resource_name, version, shown) for version in added]
        people += [{"httpStatusCode": each.code, "status": each.rpc_status()} for each in errors.values()]
        if self.options.shuffle_created:
            self.rng.shuffle(people)
        return orjson.dumps({"createdPeople": people})

    def _new(self, account: Account, body: Mapping[str, Any], at: str) -> Change:
        change = self._read(account, body, WRITABLE, at)
        groups = change.groups or (MY_CONTACTS,)
        self._check_groups(account, groups, ())
        fields = {name: elements for name, elements in change.fields.items() if elements}
        _check_size(fields)
        return Change(fields, groups)

    def _add(self, account: Account, change: Change) -> PersonVersion:
        profile = None
        if "emailAddresses" in change.fields:
            self.created += 1
            every = self.options.profile_every
            if every and self.created % every == 0:
                profile = profile_of(change.fields)
        return account.add(change.fields, change.groups or (), self.clock(), self.options.list_lag_s, profile)

    def _check_room(self, account: Account, count: int) -> None:
        account.empty_trash(self.clock() - self.options.trash_days * DAY_S)
        used = account.alive + (len(account.trash) if self.options.trash_counts else 0)
        if used + count > self.options.contacts_max:
            raise contacts_overflow()

    # -- updating ------------------------------------------------------------------------------------------

    def update_contact(self, account: Account, name: str, request: Request) -> bytes:
        query = Query(request, ("personFields", "resourceName", "sources", "updatePersonFields"))
        shown = view(query.mask("personFields", required=False), query.sources())
        mask = _update_mask(query.text("updatePersonFields"), "updatePersonFields")
        body = body_object(read_json(request))
        version, change = self._changed(account, name, body, mask, "person")
        return person_json(self._change(account, version, change), shown)

    def batch_update(self, account: Account, request: Request) -> bytes:
        Query(request)
        body = body_object(read_json(request), ("contacts", "readMask", "sources", "updateMask"))
        shown = _read_view(body)
        mask = _update_mask(body.get("updateMask"), "updateMask")
        contacts = body.get("contacts")
        if isinstance(contacts, list):
            raise invalid('Invalid JSON payload received. Unknown name "contacts": Cannot bind a list to map.')
        if not isinstance(contacts, dict) or not 0 < len(contacts) <= BATCH_MAX:
            raise invalid(f"Between 1 and {BATCH_MAX} contacts are needed.")
        changes: dict[str, tuple[PersonVersion, Change]] = {}
        errors: dict[str, GoogleError] = {}
        for name, person in contacts.items():
            try:
                changes[name] = self._changed(account, name, body_object(person), mask, f"contacts[{name}]")
            except GoogleError as error:
                errors[name] = _unless_whole(error)
        if errors and self.options.atomic_batches:
            raise batch_failed("Update", errors, self.options.named_errors)
        results: dict[str, Any] = {}
        for name, (version, change) in changes.items():
            after = self._change(account, version, change)
            if shown is not None:
                results[name] = _response(name, after, shown)
        for name, refused in errors.items():
            results[name] = {
                "requestedResourceName": name,
                "httpStatusCode": refused.code,
                "status": refused.rpc_status(),
            }
        return orjson.dumps({"updateResult": results} if results else {})

    def _changed(
        self, account: Account, name: str, body: Mapping[str, Any], mask: frozenset[str], at: str
    ) -> tuple[PersonVersion, Change]:
        if name == "people/me":
            raise invalid('Resource name "people/me" is not a valid contact person resource.')
        change = self._read(account, body, mask, at)
        version = account.person(name)
        if version is None:
            raise not_found()
        if body.get("resourceName") not in (None, "", name, version.resource_name):
            raise invalid()
        self._check_etags(version, body)
        if "memberships" in mask:
            if not change.groups:
                raise invalid("A contact must always have at least one contact group membership.")
            self._check_groups(account, change.groups, version.groups)
        _check_size({**version.fields, **change.fields})
        return version, change

    def _check_etags(self, version: PersonVersion, body: Mapping[str, Any]) -> None:
        metadata = body.get("metadata") or {}
        sources = metadata.get("sources") if isinstance(metadata, dict) else None
        contacts = [each for each in sources or () if isinstance(each, dict) and each.get("type") == "CONTACT"]
        if sources and not contacts:
            raise invalid("Request must set a contact source in person.metadata.sources.")
        if self.options.require_contact_source and not contacts:
            raise invalid("Request must set person.metadata.sources for the contact that is being updated.")
        etag = body.get("etag") or None
        source_etags = [each["etag"] for each in contacts if each.get("etag")]
        if etag is None and not source_etags:
            raise invalid(_NO_ETAG)
        if any(each.get("id") not in (None, version.source_id) for each in contacts):
            raise invalid()
        if etag is not None and (not isinstance(etag, str) or version_named_by(etag) != version.etag):
            raise stale_etag()
        if any(each != f"#{version.etag}" for each in source_etags):
            raise stale_etag(source=True)

    def _change(self, account: Account, version: PersonVersion, change: Change) -> PersonVersion:
        return account.change(
            version,
            self.clock(),
            self.options.list_lag_s,
            fields=change.fields,
            groups=change.groups,
        )

    # -- deleting ------------------------------------------------------------------------------------------

    def delete_contact(self, account: Account, name: str, request: Request) -> bytes:
        Query(request, ("resourceName",))
        version = account.person(name)
        if version is None:
            raise not_found()
        self.discard(account, version)
        return b"{}"

    def batch_delete(self, account: Account, request: Request) -> bytes:
        Query(request)
        body = body_object(read_json(request), ("resourceNames",))
        names = body.get("resourceNames")
        if not isinstance(names, list) or not 0 < len(names) <= BATCH_DELETE_MAX:
            raise invalid(f"Between 1 and {BATCH_DELETE_MAX} resource names are needed.")
        versions = [account.person(str(name)) for name in dict.fromkeys(names)]
        found = [version for version in versions if version is not None]
        if len(found) < len(versions):
            raise not_found()
        for version in found:
            self.discard(account, version)
        return b"{}"

    def discard(self, account: Account, version: PersonVersion) -> None:
        """Into the Trash, where it stays for thirty days and counts as a contact."""
        now_s, lag_s = self.clock(), self.options.list_lag_s
        gone = account.change(version, now_s, lag_s, deleted=True)
        account.trash[version.resource_name] = gone

    # -- bodies --------------------------------------------------------------------------------------------

    def _read(self, account: Account, body: Mapping[str, Any], fields: Iterable[str], at: str) -> Change:
        """The body's fields as the server stores them. Raises the 400s and the 500 of a bad body."""
        wanted = frozenset(fields)
        cleaned = clean(body, wanted, at)
        if self.options.organization_dates_fail:
            for each in cleaned.get("organizations", ()):
                if "startDate" in each or "endDate" in each:
                    raise GoogleError(500, "INTERNAL", "Internal error encountered.")
        groups = membership_names(body.get("memberships"), at) if "memberships" in wanted else None
        return Change(self.stored(cleaned), groups)

    def stored(self, cleaned: Mapping[str, Elements]) -> dict[str, Elements]:
        """Cleaned elements with everything that the server derives."""
        region, wins = self.options.default_region, self.options.unstructured_name_wins
        if self.options.reformat:
            cleaned = {name: reformatted(name, elements, region) for name, elements in cleaned.items()}
        return {name: derive(name, elements, region, wins) if elements else () for name, elements in cleaned.items()}

    def _check_groups(self, account: Account, groups: Sequence[str], already: Sequence[str]) -> None:
        for group in groups:
            if group in already:
                continue
            if group.partition("/")[2] in SYSTEM_GROUPS and group not in ADDABLE_SYSTEM_GROUPS:
                raise invalid(f"Contacts cannot be added to the system contact group {group}.")
            if not account.group_exists(group):
                raise not_found()


def profile_of(fields: Mapping[str, Elements]) -> dict[str, Elements]:
    """What the Google profile behind a contact's e-mail says: another spelling of the name, a photo of its own."""
    given = next((str(name.get("givenName", "")) for name in fields.get("names", ())), "")
    name = {"displayName": f"{given} (profile)", "givenName": given, "familyName": "(profile)"}
    return {
        "names": [name | {"displayNameLastFirst": f"(profile), {given}", "unstructuredName": f"{given} (profile)"}],
        "photos": [{"url": "https://lh3.googleusercontent.com/a/simulated-profile=s100"}],
    }


def _response(requested: str, version: PersonVersion, shown: View) -> dict[str, Any]:
    return {
        "requestedResourceName": requested,
        "httpStatusCode": 200,
        "person": orjson.Fragment(person_json(version, shown)),
        "status": {},
    }


def _read_view(body: Mapping[str, Any]) -> View | None:
    """None where the mask is empty: then nothing is read after the write."""
    text = body.get("readMask")
    if text is None:
        raise invalid(_NO_MASK.format("readMask"))
    if not isinstance(text, str):
        raise invalid("Invalid value at 'read_mask' (type.googleapis.com/google.protobuf.FieldMask)")
    sources = checked_sources(body.get("sources") or ())
    return view(read_mask(text, "readMask", READABLE), sources) if text.strip() else None


def _update_mask(text: Any, name: str) -> frozenset[str]:
    if not isinstance(text, str) or not text.strip():
        raise invalid(_NO_MASK.format(name))
    return read_mask(text, name, WRITABLE)


def _check_size(fields: Mapping[str, Elements]) -> None:
    check_size(len(orjson.dumps(fields)), sum(len(elements) for elements in fields.values()))


def _unless_whole(error: GoogleError) -> GoogleError:
    """An error of one contact. JSON that does not fit the schema, and a crash, fail the request as a whole."""
    if error.code == 500 or error.details:
        raise error
    return error
