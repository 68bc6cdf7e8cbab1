"""Invents contacts: one seed, the same people; in Latin and Cyrillic, with what real lists are full of.

`planfix_hands.py` fills an account from it; `adoption_cases` makes private Google people that were there
before, with what a sync has to make of each. All people, numbers and addresses are made up.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_LATIN_GIVEN = _names(
    "Anna Bruno Clara David Elena Felix Greta Hugo Irene Jonas Klara Liam Mia Noah Olga Pablo Quentin Rosa "
    "Simon Tessa Ulrich Vera Walter Xenia Yara Zoe Zoë José François Łukasz Søren Jürgen Małgorzata Åsa"
)
_LATIN_FAMILY = _names(
    "Adler Bauer Costa Dubois Ericsson Fischer Garcia Hoffmann Ivanova Jansen Keller Lambert Moreau Novak "
    "O'Neill Petersen Quinn Rossi Schmidt Taylor Urban Vogel Wagner Young Zimmermann Müller Núñez Żak Ødegård"
)
_CYRILLIC_MALE = _names("Алексей Борис Виктор Григорий Дмитрий Егор Иван Кирилл Лев Максим Никита Олег")
_CYRILLIC_FEMALE = _names("Алёна Вера Галина Дарья Екатерина Жанна Ирина Ксения Лариса Мария Наталья Ольга")
_CYRILLIC_FAMILY = _names("Артемьев Белов Воронов Громов Демидов Ершов Зимин Королёв Лебедев Морозов Щукин")
_PATRONYMICS = ("Иванов", "Петров", "Сергеев", "Андреев", "Олегов")
_POSITIONS = ("Sales manager", "Buyer", "CEO", "Accountant", "Главный бухгалтер", "Инженер", "Head of IT", "")
_STREETS = ("Hauptstraße", "High Street", "ул. Ленина", "Rue de la Paix", "Market Street", "Nowy Świat")
_CITIES = ("Berlin", "London", "Москва", "Paris", "San Francisco", "Warszawa")
_NOTES = (
    "Met at the fair, wants an offer.",
    "Call after 14:00.\nPrefers e-mail.",
    "Постоянный клиент, скидка 5 %.",
    "VIP; do not mail before Monday",
    'Says "maybe" & means <no>',
)
_COMPANY_WORDS = ("Nord", "Alpha", "Вектор", "Blue", "Système", "Гранит", "Delta", "Kraft")
_COMPANY_KINDS = ("GmbH", "Ltd", "ООО", "S.A.", "Inc.", "Sp. z o.o.")
_MOBILE = ("7916", "4915", "4479", "4850", "38067", "3361", "1415")
_OFFICE = ("7495", "1212", "4930")
_MAIL_HOSTS = ("example.com", "example.org", "mail.example.net")


def planfix_contacts(
    count: int, seed: int = 1, *, custom_field: int | None = None
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """``(people, companies)`` as fields of Planfix's ContactRequest plus `additionalEmailAddresses`.

    A person's ``employer`` is an index into the companies, to be replaced by the company's number.
    """
    rng = random.Random(seed)
    companies = [_company(rng, index) for index in range(max(1, count // 40))] if count else []
    people = [_person(rng, index, len(companies), custom_field) for index in range(count)]
    return people, companies


def _company(rng: random.Random, index: int) -> dict[str, object]:
    return {
        "isCompany": True,
        "template": {"id": 2},
        "name": f"{rng.choice(_COMPANY_WORDS)} {index + 1} {rng.choice(_COMPANY_KINDS)}",
        "email": f"office{index + 1}@company{index + 1}.example.com",
        "phones": [{"number": _number(rng.choice(_OFFICE), 7_500_000 + index), "type": 2}],
        "site": f"https://company{index + 1}.example.com",
    }


def _person(rng: random.Random, index: int, companies: int, custom_field: int | None) -> dict[str, object]:
    person: dict[str, object] = {"template": {"id": 1}, **_name(rng)}
    if rng.random() < 0.9:
        person["email"] = f"{_LOCAL[index % len(_LOCAL)]}.{index}@{rng.choice(_MAIL_HOSTS)}"
    if rng.random() < 0.12:
        person["additionalEmailAddresses"] = [
            f"private.{index}.{each}@example.org" for each in range(rng.randint(1, 2))
        ]
    phones = _phones(rng, index)
    if phones:
        person["phones"] = phones
    if (born := _birthday(rng)) is not None:
        person["birthDate"] = {"date": born}
    if rng.random() < 0.35:
        person["description"] = rng.choice(_NOTES)
    if rng.random() < 0.4:
        person["address"] = f"{rng.choice(_STREETS)} {rng.randint(1, 200)}, {rng.choice(_CITIES)}"
    if rng.random() < 0.7 and (position := rng.choice(_POSITIONS)):
        person["position"] = position
    if companies and rng.random() < 0.5:
        person["employer"] = rng.randrange(companies)
    person.update(_socials(rng, index))
    if custom_field is not None and rng.random() < 0.6:
        value = f"C-{index:05}"
        person["customFieldData"] = [{"field": {"id": custom_field}, "value": value}]
    return person


_LOCAL = ("anna", "b.smith", "contact", "info", "ivan", "office-1", "q_a")


def _name(rng: random.Random) -> dict[str, object]:
    if rng.random() < 0.4:
        female = rng.random() < 0.5
        family, father = rng.choice(_CYRILLIC_FAMILY), rng.choice(_PATRONYMICS)
        name: dict[str, object] = {
            "name": rng.choice(_CYRILLIC_FEMALE if female else _CYRILLIC_MALE),
            "lastname": family + "а" if female else family,
        }
        if rng.random() < 0.6:
            name["midname"] = father + ("на" if female else "ич")
        name["gender"] = "Female" if female else "Male"
        return name
    name = {"name": rng.choice(_LATIN_GIVEN)}
    if rng.random() < 0.95:
        name["lastname"] = rng.choice(_LATIN_FAMILY)
    if rng.random() < 0.1:
        name["midname"] = rng.choice(_LATIN_GIVEN)
    return name


def _phones(rng: random.Random, index: int) -> list[dict[str, object]]:
    """Mostly a mobile, often an office number, sometimes more; every number occurs once in the account."""
    numbers: list[dict[str, object]] = []
    if rng.random() < 0.85:
        numbers.append({"number": _number(rng.choice(_MOBILE), index), "type": 1})
    if rng.random() < 0.35:
        numbers.append({"number": _number(rng.choice(_OFFICE), 1_000_000 + index), "type": 2})
    if rng.random() < 0.1:
        numbers.append({"number": _number(rng.choice(_MOBILE), 2_000_000 + index), "type": 3})
    if rng.random() < 0.05:
        numbers.append({"number": _number(rng.choice(_MOBILE), 3_000_000 + index), "type": 4})
    return numbers


_SUBSCRIBER = {
    "7916": lambda n: f"{n:07}",
    "7495": lambda n: f"{n:07}",
    "4915": lambda n: f"11{n:07}",
    "4930": lambda n: f"2{n:07}",
    "4479": lambda n: f"1{n + 1_000_000:07}",
    "4850": lambda n: f"{n:07}",
    "38067": lambda n: f"{n:07}",
    "3361": lambda n: f"{n:07}",
    "1415": lambda n: f"{2_000_000 + n % 8_000_000}",
    "1212": lambda n: f"{2_000_000 + n % 8_000_000}",
}
"""What follows each prefix, for a number below ten million: the lengths that the country's plan asks for."""


def _number(prefix: str, serial: int) -> str:
    """A valid international number without the plus."""
    return prefix + _SUBSCRIBER[prefix](serial % 8_000_000)


def _birthday(rng: random.Random) -> str | None:
    chance = rng.random()
    if chance < 0.5:
        return None
    if chance < 0.53:
        return f"29-02-{rng.choice((1960, 1984, 1996, 2000))}"
    year = 1900 if chance < 0.57 else rng.randint(1945, 2004)
    return f"{rng.randint(1, 28):02}-{rng.randint(1, 12):02}-{year}"


def _socials(rng: random.Random, index: int) -> dict[str, object]:
    offers: dict[str, object] = {
        "site": f"https://www.example.org/~p{index}",
        "skype": f"live:p{index}",
        "telegram": f"https://t.me/person_{index}",
        "viberId": f"viber{index}",
        "facebook": f"https://facebook.com/person.{index}",
        "instagram": f"https://www.instagram.com/person_{index}",
    }
    return {name: value for name, value in offers.items() if rng.random() < 0.12}


class Fate(Enum):
    """What the first sync has to make of a contact whose people were in Google before."""

    ADOPTED = "adopted"
    """The person becomes the contact's and keeps its own further values."""
    CREATED = "created"
    """The person is somebody else: the contact gets a new one."""
    POSSIBLE_DUPLICATE = "possible_duplicate"
    """Several could be meant: nothing is linked or created until a human decides."""


@dataclass(frozen=True, slots=True)
class AdoptionCase:
    """``contact`` is a Planfix number; ``people`` are Person bodies for `people.createContact`."""

    contact: int
    people: tuple[dict[str, object], ...]
    fate: Fate
    why: str


def adoption_cases(contacts: Sequence[Mapping[str, object]], seed: int = 1) -> list[AdoptionCase]:
    """One case for each of the contacts that has a full name, an e-mail and a phone, the kinds in turn.

    ``contacts`` are contacts as `dump` shows them. Give as many as there should be cases.
    """
    rng = random.Random(seed)
    usable = [each for each in contacts if _usable(each)]
    return [_KINDS[index % len(_KINDS)](rng, contact) for index, contact in enumerate(usable)]


def private_people(count: int, seed: int = 1) -> list[dict[str, object]]:
    """Person bodies that have nothing to do with any contact of `planfix_contacts`."""
    rng = random.Random(seed)
    return [
        _google_person(
            rng,
            f"{rng.choice(_LATIN_GIVEN)}",
            f"Private{index}",
            emails=[f"friend.{seed}.{index}@friends.example.net"],
            phones=[f"+{_number('3361', 7_000_000 + index)}"],
        )
        for index in range(count)
    ]


def _usable(contact: Mapping[str, object]) -> bool:
    names = contact.get("name") and contact.get("lastname")
    return bool(names and contact.get("email") and contact.get("phones") and not contact.get("isCompany"))


def _facts(contact: Mapping[str, object]) -> tuple[int, str, str, str, str]:
    phones = contact["phones"]
    assert isinstance(phones, list)
    number = contact["id"]
    assert isinstance(number, int)
    return (
        number,
        str(contact["name"]),
        str(contact["lastname"]),
        str(contact["email"]),
        str(phones[0]["number"]),
    )


def _same_email(rng: random.Random, contact: Mapping[str, object]) -> AdoptionCase:
    number, given, family, email, _ = _facts(contact)
    person = _google_person(rng, given, family, emails=[email, f"own.{number}@friends.example.net"])
    return AdoptionCase(number, (person,), Fate.ADOPTED, "same e-mail and name")


def _email_in_capitals(rng: random.Random, contact: Mapping[str, object]) -> AdoptionCase:
    number, given, family, email, _ = _facts(contact)
    person = _google_person(rng, f"{given[0]}.", family, emails=[email.upper()])
    return AdoptionCase(number, (person,), Fate.ADOPTED, "same e-mail in capitals, given name an initial")


def _email_of_another(rng: random.Random, contact: Mapping[str, object]) -> AdoptionCase:
    number, _, _, email, _ = _facts(contact)
    person = _google_person(rng, "Somebody", f"Else{number}", emails=[email])
    return AdoptionCase(number, (person,), Fate.CREATED, "same e-mail, but the names contradict")


def _same_phone(rng: random.Random, contact: Mapping[str, object]) -> AdoptionCase:
    number, given, family, _, phone = _facts(contact)
    person = _google_person(rng, given, family, phones=[f"+{phone[:-4]} {phone[-4:-2]}-{phone[-2:]}"])
    return AdoptionCase(number, (person,), Fate.ADOPTED, "same phone in another format, same name")


def _family_phone(rng: random.Random, contact: Mapping[str, object]) -> AdoptionCase:
    number, _, family, _, phone = _facts(contact)
    person = _google_person(rng, "Relative", family, phones=[f"+{phone}"])
    return AdoptionCase(number, (person,), Fate.CREATED, "a shared family phone, other given name")


def _same_name(rng: random.Random, contact: Mapping[str, object]) -> AdoptionCase:
    number, given, family, _, _ = _facts(contact)
    person = _google_person(rng, given, family, emails=[f"namesake.{number}@friends.example.net"])
    return AdoptionCase(number, (person,), Fate.CREATED, "only the name is the same")


def _twice(rng: random.Random, contact: Mapping[str, object]) -> AdoptionCase:
    number, given, family, email, phone = _facts(contact)
    first = _google_person(rng, given, family, emails=[email])
    second = _google_person(rng, given, family, emails=[email], phones=[f"+{phone}"])
    return AdoptionCase(number, (first, second), Fate.POSSIBLE_DUPLICATE, "two people with the same e-mail")


_KINDS = (_same_email, _same_phone, _email_of_another, _email_in_capitals, _family_phone, _same_name, _twice)


def _google_person(
    rng: random.Random, given: str, family: str, *, emails: Sequence[str] = (), phones: Sequence[str] = ()
) -> dict[str, object]:
    """A Person as somebody keeps it privately, with fields that no mapping knows."""
    person: dict[str, object] = {
        "names": [{"givenName": given, "familyName": family}],
        "emailAddresses": [{"value": each, "type": "home"} for each in emails],
        "phoneNumbers": [{"value": each, "type": "mobile"} for each in phones],
    }
    if rng.random() < 0.5:
        person["nicknames"] = [{"value": f"{given[:1]}{family[:2]}".lower()}]
    if rng.random() < 0.3:
        person["events"] = [{"date": {"month": 6, "day": 12}, "type": "anniversary"}]
    if rng.random() < 0.3:
        person["userDefined"] = [{"key": "shoe size", "value": str(rng.randint(36, 46))}]
    return {name: value for name, value in person.items() if value}
