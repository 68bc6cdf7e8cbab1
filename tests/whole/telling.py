"""Words for stories: the harshest vendors, what was thrown away, and what stands on either side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from contactsync_contracts.messages import NewContactDefaults

from .vendors import Write
from .world import Office, World

HARSH_GOOGLE: Final[Mapping[str, Any]] = {
    "list_lag_s": 15.0,
    "named_errors": False,
    "require_contact_source": True,
    "group_etag_required": True,
    "profile_every": 2,
    "shuffle_keys": True,
    "concurrent_mutations": "503",
}
HARSH_PLANFIX: Final[Mapping[str, Any]] = {"ambiguous_hour_is_later": True, "additional_emails": "ignored"}


def harsh(google: Mapping[str, Any] | None = None, planfix: Mapping[str, Any] | None = None, **more: Any) -> World:
    """A world in which each open question is answered the harsher way; `google`, `planfix`: further options."""
    return World(google={**HARSH_GOOGLE, **(google or {})}, planfix={**HARSH_PLANFIX, **(planfix or {})}, **more)


def thrown_away(writes: Sequence[Write]) -> list[str]:
    """Deletions and the ends of labels among the writes; those that Planfix would throw contacts away by, too."""
    found = []
    for write in writes:
        body = write.body if isinstance(write.body, Mapping) else {}
        if write.method == "DELETE" or "batchDelete" in write.path or body.get("resourceNamesToRemove"):
            found.append(str(write))
        if write.vendor == "planfix" and ("isDeleted" in body or body.get("group", ...) is None):
            found.append(str(write))
    return found


def labels(world: World, office: Office) -> dict[str, str]:
    """The account's own labels: resource name to name."""
    groups = world.google.dump(office.account.email)["groups"]
    return {one["resourceName"]: one["name"] for one in groups if one.get("groupType") != "SYSTEM_CONTACT_GROUP"}


def members(world: World, office: Office, label: str = "") -> set[str]:
    """Who carries a label, the filter's own by default."""
    return set(world.google.account(office.account.email).members[label or world.label(office.filter_id)])


def people(world: World, office: Office) -> list[str]:
    """Everybody in the account."""
    return sorted(one["resourceName"] for one in world.google.dump(office.account.email)["people"])


def in_trash(world: World, office: Office) -> list[str]:
    return list(world.google.dump(office.account.email)["trash"])


def states(world: World, office: Office) -> dict[int, str]:
    """Contact to state, as `contacts FILTER` shows it."""
    return {row["contact"]: row["state"] for row in world.contacts(office.filter_id) if row["contact"]}


def without_versions(person: Any) -> Any:
    """A person as JSON without what Google moves by itself, and without an order of keys."""
    if isinstance(person, Mapping):
        return {k: without_versions(v) for k, v in sorted(person.items()) if k not in ("etag", "updateTime")}
    if isinstance(person, list):
        return [without_versions(each) for each in person]
    return person


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    """Fields of a person that differ; without versions (`without_versions`), which are no content."""
    names = (before.keys() | after.keys()) - {"metadata"}
    return {name for name in names if before.get(name) != after.get(name)}


def type_in(world: World, office: Office, **fields: Any) -> str:
    """Somebody types a person in on the phone, under the filter's label; its resource name."""
    groups = ("contactGroups/myContacts", world.label(office.filter_id))
    memberships = [{"contactGroupMembership": {"contactGroupResourceName": name}} for name in groups if name]
    resource = world.google.add_person(office.account.email, {"memberships": memberships, **fields})
    world.hands.touched.add(resource)
    return resource


def named(given: str, family: str) -> list[dict[str, str]]:
    return [{"givenName": given, "familyName": family}]


def defaults(office: Office) -> NewContactDefaults:
    """What contacts made in Planfix get, so that they fall into the office's filter."""
    return NewContactDefaults(group=office.group)


def told(world: World) -> int:
    """How many observations and answers have gone through the filters' mailboxes: what `World.replay` counts."""
    kinds = ("google", "planfix", "settled")
    return sum(one.subject.rsplit(".", 1)[1] in kinds for one in world.server.published)


def answer_all(world: World, office: Office) -> None:
    """Whoever is asked says yes, until nothing waits any more."""
    for _ in range(5):
        if world.approve(office.filter_id):
            pass
        elif world.status(office.filter_id)["state"] in ("paused", "frozen"):
            world.resume(office.filter_id)
        else:
            return
        world.settle()


def warnings(world: World, since: int) -> list[str]:
    """Lines of the log that warn, from the `since`-th on."""
    return [line for line in world.system.log[since:] if " warning " in line or " error " in line]


def copy_back(world: World, office: Office, contact: int, where: str) -> int:
    """Another tool's cycle: a copy of the contact with a new id on `google`, `planfix` or `both`; how many."""
    fields = world.hands.in_planfix(contact) or {}
    phones = [element.value for element in fields["phones"] if not isinstance(element, str)]
    given, family = str(fields["given"]), str(fields["family"])
    if where != "planfix":
        type_in(world, office, names=named(given, family), phoneNumbers=[{"value": one} for one in phones])
    if where != "google":
        numbers = [{"number": one, "type": 1} for one in phones]
        world.contact(given, family, phones=numbers, group=office.group)
    return 2 if where == "both" else 1


_LISTS = {"emails": "emailAddresses", "phones": "phoneNumbers"}
_ONLY = {"notes": "biographies", "address": "addresses", "birthday": "birthdays", "gender": "genders"}
_PARTS = {
    "middle": ("names", "middleName"),
    "family": ("names", "familyName"),
    "position": ("organizations", "title"),
    "company": ("organizations", "name"),
}
_DERIVED = ("displayName", "displayNameLastFirst", "unstructuredName", "metadata")


def without(person: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a human leaves of a person's fields who clears one, by its canonical name."""
    if name in _LISTS or name in _ONLY:
        return {{**_LISTS, **_ONLY}[name]: []}
    if name in _PARTS:
        field, part = _PARTS[name]
        left = [{k: v for k, v in one.items() if k not in (part, *_DERIVED)} for one in person[field]]
        return {field: [one for one in left if one]}
    field, key, value = {
        "site": ("urls", "type", "homePage"),
        "facebook": ("urls", "type", "facebook"),
        "instagram": ("urls", "type", "instagram"),
        "custom:10": ("userDefined", "key", "Shoe size"),
    }.get(name, ("imClients", "protocol", name))
    return {field: [one for one in person[field] if one.get(key) != value]}
