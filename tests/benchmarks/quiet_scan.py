"""The processor time of planning a quiet full scan of one filter: 25,000 links, both sides listed to their end,
nothing changed. `make bench-scan`.

What is measured is the reconciler's own part, from the watchers' messages as they arrive: parsing, comparing, finding
that nothing is missing and nothing to do. Reading a link's base would be a call of `load`; the script counts them.
"""

from __future__ import annotations

import argparse
import time

from contactsync.hashing import Hasher, content_hash
from contactsync.reconciler.core.filter import FilterRecord
from contactsync.reconciler.core.link import Link
from contactsync.reconciler.core.machine import Machine
from contactsync_contracts.contact import Contact, Element
from contactsync_contracts.messages import (
    GoogleListed,
    GoogleObserved,
    GooglePerson,
    Kept,
    Model,
    PlanfixContact,
    PlanfixListed,
    PlanfixObserved,
    Stamp,
)

FILTER, ACCOUNT, LABEL = "f1", "acc", "contactGroups/ours"
PAGE_PLANFIX, PAGE_GOOGLE, PART = 100, 200, 5000


def fields_of(number: int) -> Contact:
    phone, email = f"+1202{number:07}", f"person{number}@example.com"
    return {
        "given": f"Given{number}",
        "family": f"Family{number}",
        "middle": "",
        "emails": (Element(email, email),),
        "phones": (Element(phone, phone, "mobile"), Element(f"{phone}9", f"{phone}9", "work")),
        "notes": f"Met at the fair in {number}, wants to be called back about the second offer.",
        "company": "Example Ltd",
        "position": "Buyer",
        "address": f"{number} High Street, Springfield",
        "birthday": "1980-02-29",
        "gender": "female",
        "site": "",
        "skype": "",
    }


def person_of(number: int, fields: Contact) -> GooglePerson:
    return GooglePerson(
        resource=f"people/c{number}",
        source_id=f"{number:x}",
        etag=f"#e{number}",
        updated_at=1000.0,
        fields=fields,
        raw={},
        labels=(LABEL, "contactGroups/myContacts"),
        stamps=(Stamp(contact=number, kept=Kept.OURS),),
    )


def link_of(number: int, fields: Contact) -> Link:
    return Link(
        contact=number,
        planfix=fields,
        planfix_hash=content_hash(fields),
        planfix_at=1000.0,
        member_at=1000.0,
        resource=f"people/c{number}",
        source_id=f"{number:x}",
        etag=f"#e{number}",
        google=fields,
        google_hash=content_hash(fields),
        google_at=1000.0,
        raw={},
        labelled=True,
        stamped=True,
        own=Kept.OURS,
        base_planfix=fields,
        base_google=fields,
        revision=1,
        matched=True,
    )


def messages(links: int) -> list[tuple[type[Model], bytes]]:
    """Both listings as the watchers would send them, encoded. A background scan leaves out what it told before; this
    is the harder case: everybody is told again."""
    numbers = range(1, links + 1)
    found: list[Model] = []
    for at in range(1, links + 1, PAGE_PLANFIX):
        part = tuple(PlanfixContact(contact=n, fields=fields_of(n)) for n in numbers[at - 1 : at - 1 + PAGE_PLANFIX])
        found.append(PlanfixObserved(filter_id=FILTER, seen_at=2000.0, member=True, contacts=part))
    for at in range(0, links, PART):
        part_of = tuple(numbers[at : at + PART])
        last = at + PART >= links
        low, high = (part_of[0] if at else 0), (2**53 if last else part_of[-1])
        found.append(PlanfixListed(filter_id=FILTER, began_at=1999.0, low=low, high=high, members=part_of, last=last))
    for at in range(0, links, PAGE_GOOGLE):
        people = tuple(person_of(n, fields_of(n)) for n in numbers[at : at + PAGE_GOOGLE])
        found.append(GoogleObserved(filter_id=FILTER, account=ACCOUNT, seen_at=2000.0, people=people))
    names = sorted(f"people/c{n}" for n in numbers)
    for at in range(0, links, PART):
        part_names = tuple(names[at : at + PART])
        last = at + PART >= links
        found.append(
            GoogleListed(
                filter_id=FILTER,
                account=ACCOUNT,
                began_at=1999.0,
                low=part_names[0] if at else "",
                high="\U0010ffff" if last else part_names[-1],
                resources=part_names,
                people_total=links,
                last=last,
            )
        )
    return [(type(one), one.model_dump_json(exclude_defaults=True).encode()) for one in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--links", type=int, default=25_000)
    links = parser.parse_args().links
    record = FilterRecord(FILTER, "Clients", 7, ACCOUNT, "a@example.com", 0.0, phase="done", label=LABEL)
    machine = Machine(record, [], [], Hasher(b"a key for the benchmark"))
    for number in range(1, links + 1):
        machine.know(link_of(number, fields_of(number)))
    machine.finish(1500.0)
    encoded = messages(links)
    read = written = said = 0
    parsing = planning = 0.0
    for kind, data in encoded:
        began = time.process_time()
        event = kind.model_validate_json(data)
        parsed = time.process_time()
        needed = machine.needs(event)  # type: ignore[arg-type]
        read += len(needed)
        machine.handle(event, 2000.0)  # type: ignore[arg-type]
        step = machine.finish(2000.0)
        planning += time.process_time() - parsed
        parsing += parsed - began
        written += len(step.links)
        said += len(step.begun) + len(step.wishes.people) + len(step.wishes.confirm)
    print(f"{links:,} links, {len(encoded)} messages")
    print(f"planning: {planning:.2f} s of processor time; parsing the messages: {parsing:.2f} s")
    print(f"links read: {read}, links written: {written}, mutations and looks: {said}")
    assert (read, written, said) == (0, 0, 0), "a quiet scan is not quiet"


if __name__ == "__main__":
    main()
