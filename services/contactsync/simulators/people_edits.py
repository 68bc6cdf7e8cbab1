"""The edits that simulated people make, one small function each; `people.py` picks from `KINDS`.

An edit answers no action where the scene has nobody left whom it fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .people_scene import HumanAction, Scene

Edit = Callable[[Scene], Sequence[HumanAction]]

CONFLICT = "both sides changed it: the later edit wins if clear, else Planfix; the other is in the history"


def _items(person: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A list field as a person's editor would send it back: without the server's metadata."""
    return [
        {key: value for key, value in each.items() if key not in ("metadata", "formattedType", "canonicalForm")}
        for each in person.get(name) or ()
    ]


def _numbers(contact: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"number": each["number"], "type": each["type"]} for each in contact["phones"]]


# -- edits in Planfix ----------------------------------------------------------------------------------------


def _planfix_position(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take()
    if pair is None:
        return ()
    fields = {"position": f"Director {scene.serial()}"}
    return [scene.in_planfix(pair, "changes the position", fields, "Google shows the new position")]


def _planfix_clear(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take(lambda each: bool(each.contact.get("description")))
    if pair is None:
        return ()
    return [scene.in_planfix(pair, "clears the notes", {"description": ""}, "Google has no notes any more")]


def _planfix_phone_added(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take()
    if pair is None:
        return ()
    phones = [*_numbers(pair.contact), {"number": f"+4915117{scene.serial():06}", "type": 4}]
    return [scene.in_planfix(pair, "adds a phone", {"phones": phones}, "Google has the further phone")]


def _planfix_phone_removed(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take(lambda each: len(each.contact["phones"]) > 0)
    if pair is None:
        return ()
    phones = _numbers(pair.contact)[:-1]
    return [scene.in_planfix(pair, "removes a phone", {"phones": phones}, "the phone is gone from Google")]


def _planfix_phone_type(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take(lambda each: len(each.contact["phones"]) > 0)
    if pair is None:
        return ()
    phones = _numbers(pair.contact)
    phones[0]["type"] = phones[0]["type"] % 4 + 1
    return [scene.in_planfix(pair, "changes a phone's type", {"phones": phones}, "Google shows the new type")]


def _planfix_email_added(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take()
    if pair is None:
        return ()
    addresses = [*pair.contact["additionalEmailAddresses"], f"second.{pair.number}@example.org"]
    fields = {"additionalEmailAddresses": addresses}
    return [scene.in_planfix(pair, "adds a second e-mail", fields, "Google has the second e-mail too")]


def _planfix_birthday(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take()
    if pair is None:
        return ()
    fields = {"birthDate": {"date": "29-02-1988"}}
    return [scene.in_planfix(pair, "sets the birthday", fields, "Google shows 29 February 1988")]


def _planfix_name(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take()
    if pair is None:
        return ()
    fields = {"lastname": f"Married-{scene.serial()}"}
    return [scene.in_planfix(pair, "changes the family name", fields, "Google shows the new family name")]


def _planfix_trash(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take()
    if pair is None:
        return ()
    sentence = f"in Planfix somebody puts {pair.who} into the trash"
    expected = "the label goes; the person too, if the sync made it and it has no other label"
    return [scene.planfix("trash_contact", sentence, expected, contact=pair.number)]


def _planfix_leave(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take() if _movable(scene) else None
    if pair is None:
        return ()
    sentence = f"in Planfix {pair.who} stops fulfilling the filter's conditions"
    expected = "the label goes; the person too, if the sync made it and it has no other label"
    target = {"filter_id": scene.filter["id"], "contact": pair.number}
    return [scene.planfix("remove_from_filter", sentence, expected, **target)]


def _planfix_enter(scene: Scene) -> Sequence[HumanAction]:
    if not scene.outsiders or not _movable(scene):
        return ()
    contact = scene.outsiders.pop()
    sentence = f"in Planfix contact {contact['id']} starts to fulfil the filter's conditions"
    target = {"filter_id": scene.filter["id"], "contact": contact["id"]}
    return [scene.planfix("put_into_filter", sentence, "it appears in Google with the label", **target)]


def _planfix_new(scene: Scene) -> Sequence[HumanAction]:
    condition = scene.filter["condition"]
    fields: dict[str, Any] = {"name": "New", "lastname": f"Contact {scene.serial()}"}
    fields["email"] = f"new.{scene.filter['id']}.{scene.made}@example.net"
    match condition["kind"]:
        case "group":
            fields["group"] = {"id": condition["group"]}
        case "custom":
            value = {"field": {"id": condition["field"]}, "value": condition["value"]}
            fields["customFieldData"] = [value]
        case "all":
            pass
        case _:
            return ()
    sentence = "in Planfix somebody adds a contact that belongs to the filter"
    return [scene.planfix("add_contact", sentence, "it appears in Google with the label", fields=fields)]


def _movable(scene: Scene) -> bool:
    return scene.filter["condition"]["kind"] in ("group", "custom", "ids", "supervisor", "template")


# -- edits in Google -----------------------------------------------------------------------------------------


def _google_notes(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take()
    if pair is None:
        return ()
    fields = {"biographies": [{"value": f"Called back {scene.serial()} times", "contentType": "TEXT_PLAIN"}]}
    return [scene.in_google(pair, "writes notes", fields, "Planfix has the notes as description")]


def _google_clear(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take(lambda each: bool(each.person.get("addresses")))
    if pair is None:
        return ()
    return [scene.in_google(pair, "deletes the address", {"addresses": []}, "Planfix has no address any more")]


def _google_phone_added(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take()
    if pair is None:
        return ()
    phones = [
        *_items(pair.person, "phoneNumbers"),
        {"value": f"+4915118{scene.serial():06}", "type": "mobile"},
    ]
    return [scene.in_google(pair, "adds a phone", {"phoneNumbers": phones}, "Planfix has the further phone")]


def _google_phone_removed(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take(lambda each: len(each.person.get("phoneNumbers") or ()) > 0)
    if pair is None:
        return ()
    fields = {"phoneNumbers": _items(pair.person, "phoneNumbers")[:-1]}
    return [scene.in_google(pair, "removes a phone", fields, "the phone is gone from Planfix")]


def _google_phone_type(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take(lambda each: len(each.person.get("phoneNumbers") or ()) > 0)
    if pair is None:
        return ()
    phones = _items(pair.person, "phoneNumbers")
    phones[0]["type"] = "work" if phones[0].get("type") != "work" else "home"
    fields = {"phoneNumbers": phones}
    return [scene.in_google(pair, "changes a phone's type", fields, "Planfix shows the new type")]


def _google_birthday(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take()
    if pair is None:
        return ()
    fields = {"birthdays": [{"date": {"year": 1977, "month": 3, "day": 31}}]}
    return [scene.in_google(pair, "sets the birthday", fields, "Planfix shows 31 March 1977")]


def _google_name(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take(lambda each: bool(each.person.get("names")))
    if pair is None:
        return ()
    name = _items(pair.person, "names")[0]
    kept = {key: name[key] for key in ("familyName", "middleName", "honorificPrefix") if key in name}
    fields = {"names": [kept | {"givenName": f"Nick{scene.serial()}"}]}
    return [scene.in_google(pair, "changes the given name", fields, "Planfix shows the new given name")]


def _google_email_added(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take()
    if pair is None:
        return ()
    emails = [
        *_items(pair.person, "emailAddresses"),
        {"value": f"third.{pair.number}@example.org", "type": "home"},
    ]
    expected = "Planfix has it as additional e-mail if it takes those, else it stays in Google only"
    return [scene.in_google(pair, "adds an e-mail", {"emailAddresses": emails}, expected)]


def _google_delete(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take()
    if pair is None:
        return ()
    sentence = f"on the phone somebody deletes the person of {pair.who}"
    expected = "Planfix is untouched; the contact is dismissed and does not come back"
    name = pair.person["resourceName"]
    return [scene.google("delete_person", sentence, expected, pair.number, resource_name=name)]


def _google_unlabel(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take()
    if pair is None:
        return ()
    sentence = f"on the phone somebody takes the label off the person of {pair.who}"
    target = {"resource_name": pair.person["resourceName"], "label": scene.label}
    expected = "Planfix is untouched; the contact is dismissed, the person stays as it is"
    return [scene.google("remove_from_label", sentence, expected, pair.number, **target)]


def _google_label(scene: Scene) -> Sequence[HumanAction]:
    if not scene.private:
        return ()
    target = {"resource_name": scene.private.pop()["resourceName"], "label": scene.label}
    sentence = "on the phone somebody puts the label on a private person"
    expected = "Planfix gets the contact, or the matching one is linked"
    return [scene.google("add_to_label", sentence, expected, **target)]


# -- edits on both sides -------------------------------------------------------------------------------------


def _conflict(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take()
    if pair is None:
        return ()
    serial = scene.serial()
    note = {"value": f"from Google {serial}", "contentType": "TEXT_PLAIN"}
    return [
        scene.in_planfix(pair, "rewrites the notes", {"description": f"from Planfix {serial}"}, CONFLICT),
        scene.in_google(pair, "rewrites the notes", {"biographies": [note]}, CONFLICT),
    ]


def _both_add(scene: Scene) -> Sequence[HumanAction]:
    pair = scene.take()
    if pair is None:
        return ()
    serial = scene.serial()
    numbers = [*_numbers(pair.contact), {"number": f"+4915113{serial:06}", "type": 3}]
    phones = [*_items(pair.person, "phoneNumbers"), {"value": f"+4915114{serial:06}", "type": "home"}]
    expected = "both sides have both new phones"
    return [
        scene.in_planfix(pair, "adds a phone", {"phones": numbers}, expected),
        scene.in_google(pair, "adds another phone", {"phoneNumbers": phones}, expected),
    ]


KINDS: Mapping[str, Edit] = {
    "planfix changes the position": _planfix_position,
    "google writes notes": _google_notes,
    "planfix clears the notes": _planfix_clear,
    "google deletes the address": _google_clear,
    "planfix adds a phone": _planfix_phone_added,
    "google adds a phone": _google_phone_added,
    "planfix removes a phone": _planfix_phone_removed,
    "google removes a phone": _google_phone_removed,
    "planfix changes a phone's type": _planfix_phone_type,
    "google changes a phone's type": _google_phone_type,
    "planfix adds an e-mail": _planfix_email_added,
    "google adds an e-mail": _google_email_added,
    "planfix sets the birthday": _planfix_birthday,
    "google sets the birthday": _google_birthday,
    "planfix changes the family name": _planfix_name,
    "google changes the given name": _google_name,
    "both rewrite the notes": _conflict,
    "both add a phone": _both_add,
    "planfix trashes the contact": _planfix_trash,
    "google deletes the person": _google_delete,
    "planfix: the contact leaves the filter": _planfix_leave,
    "google: the label is taken off": _google_unlabel,
    "planfix: a contact enters the filter": _planfix_enter,
    "google: the label is put on": _google_label,
    "planfix adds a contact": _planfix_new,
}
