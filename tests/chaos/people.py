"""People at both ends who go on working while things fail, and what must have become of it in the end.

Each kind of edit has fields of its own on each side, so that no two people mean the same field: what was typed last
must stand on both sides at the end (I3, I4).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from integration.installation import Filter, Installation


@dataclass
class People:
    """positions, notes: contact -> what was typed last in Planfix, in Google. typed: names of people put under a
    label in Google. gone: contacts whose group was taken away in Planfix."""

    site: Installation
    random: Random
    positions: dict[int, str] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    typed: dict[str, str] = field(default_factory=dict)
    added: dict[int, str] = field(default_factory=dict)
    gone: dict[int, str] = field(default_factory=dict)
    count: int = 0

    def act(self) -> str:
        """Somebody does something; what, for the log."""
        self.count += 1
        one = self.random.choice(self.site.filters)
        kind = self.random.choices(["planfix", "google", "new contact", "new person", "leaves"], [6, 6, 2, 2, 1])[0]
        match kind:
            case "planfix":
                return self._in_planfix(one)
            case "google":
                return self._in_google(one)
            case "new contact":
                return self._new_contact(one)
            case "new person":
                return self._new_person(one)
            case _:
                return self._leaves(one)

    def _in_planfix(self, one: Filter) -> str:
        number = self.random.choice(self.site.members(one.filter_id))
        text = f"Planfix {self.count}"
        self.site.control("planfix", "edit_contact", contact=number, fields={"position": text})
        self.positions[number] = text
        return f"position of {number}"

    def _in_google(self, one: Filter) -> str:
        people = self.site.people(one.email)
        known = sorted(set(people) - set(self.gone))
        if not known:
            return "nobody there yet"
        number, text = self.random.choice(known), f"Google {self.count}"
        self.site.control(
            "google",
            "edit_person",
            account=one.email,
            resource_name=people[number]["resourceName"],
            fields={"biographies": [{"value": text, "contentType": "TEXT_PLAIN"}]},
        )
        self.notes[number] = text
        return f"notes of {number}"

    def _new_contact(self, one: Filter) -> str:
        fields: dict[str, Any] = {
            "template": {"id": 1},
            "name": f"New{self.count}",
            "lastname": "Contact",
            "email": f"new{self.count}@people.test",
            "group": {"id": one.group},
        }
        number = int(self.site.control("planfix", "add_contact", fields=fields))
        self.added[number] = one.email
        return f"contact {number}"

    def _new_person(self, one: Filter) -> str:
        label = next(f["name"] for f in self.site.look("planfix", "dump")["filters"] if f["id"] == one.filter_id)
        if label not in [group["name"] for group in self.site.look("google", "dump", account=one.email)["groups"]]:
            return "no label there yet"
        name = f"Typed{self.count}"
        person = {"names": [{"givenName": name, "familyName": "Person"}]}
        if self.random.random() < 0.5:
            person["emailAddresses"] = [{"value": f"typed{self.count}@people.test"}]
        resource = self.site.control("google", "add_person", account=one.email, person=person)
        self.site.control("google", "add_to_label", account=one.email, resource_name=resource, label=label)
        self.typed[name] = one.filter_id
        return f"person {name}"

    def _leaves(self, one: Filter) -> str:
        members = [n for n in self.site.members(one.filter_id) if n not in self.notes and n not in self.added]
        if len(members) < 5:
            return "too few to leave"
        number = self.random.choice(members)
        self.site.control("planfix", "edit_contact", contact=number, fields={"group": None})
        self.gone[number] = one.email
        self.positions.pop(number, None)
        return f"{number} leaves"

    # ---- the end

    def findings(self) -> list[str]:
        """Where the sides differ; whom a human put under a label stays there, though the filter does not count it."""
        rows = self.site.look("planfix", "dump")["contacts"]
        typed = {f"contact {row['id']} is under" for row in rows if row["name"] in self.typed}
        return [one for one in self.site.findings() if not one.startswith(tuple(typed))]

    def broken(self) -> list[str]:
        """What is missing, empty when everything arrived."""
        found: list[str] = []
        dump = self.site.look("planfix", "dump")
        contacts = {row["id"]: row for row in dump["contacts"]}
        everybody = {one.email: self.site.people(one.email) for one in self.site.filters}
        merged: dict[int, dict[str, Any]] = {}
        for people in everybody.values():
            merged |= people
        for number, text in self.positions.items():
            if number in self.gone:
                continue
            person = merged.get(number, {})
            if text not in [each.get("title") for each in person.get("organizations", [])]:
                found.append(f"position {text!r} of {number} is not in Google")
            if contacts[number]["position"] != text:
                found.append(f"position {text!r} of {number} was undone in Planfix")
        for number, text in self.notes.items():
            if text not in [each.get("value") for each in merged.get(number, {}).get("biographies", [])]:
                found.append(f"notes {text!r} of {number} were undone in Google")
            if contacts[number]["description"] != text:
                found.append(f"notes {text!r} of {number} are not in Planfix")
        for number, email in self.added.items():
            if number not in everybody[email]:
                found.append(f"contact {number} has no person")
        for name in self.typed:
            count = sum(row["name"] == name and not row["isDeleted"] for row in contacts.values())
            if count != 1:
                found.append(f"{name} is {count} times in Planfix")
        for number, email in self.gone.items():
            if number in everybody[email]:
                found.append(f"contact {number} left, and its person is still there")
        return found
