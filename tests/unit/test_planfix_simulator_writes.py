"""What the simulated Planfix makes of writes: what it takes, normalises, ignores and refuses."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from contactsync.simulators.faults import Faults
from contactsync.simulators.planfix import PlanfixSimulator
from contactsync.simulators.planfix_options import PlanfixOptions
from simulated_planfix import Account, Clock, modified_after


@pytest.fixture
def account() -> Account:
    return Account()


def update(account: Account, number: int, body: dict[str, Any], **query: str) -> Any:
    status, answer = account.call("POST", f"/contact/{number}", body, query=query)
    assert status == 200, answer
    return answer


def test_a_contact_is_created_with_201_and_its_number(account: Account) -> None:
    status, answer = account.call("POST", "/contact/", {"name": "Ann", "template": {"id": 1}})
    assert (status, answer["result"]) == (201, "success")
    assert account.read(answer["id"], "name,addedBy")["name"] == "Ann"


def test_an_update_changes_only_what_it_names(account: Account) -> None:
    number = account.planfix.add_contact({"name": "Ann", "position": "CEO", "description": "note"})
    assert update(account, number, {"position": "CFO", "nonsense": 1}) == {"result": "success"}
    assert account.read(number, "name,position,description") == {
        "name": "Ann",
        "description": "note",
        "position": "CFO",
    }


def test_phones_are_replaced_whole_and_kept_as_digits(account: Account) -> None:
    number = account.planfix.add_contact({"name": "Ann", "phones": [{"number": "+7 916 111-22-33", "type": 1}]})
    update(account, number, {"phones": [{"number": "+8 (964) 375-24-16", "type": 2}]})
    masked = {"number": "89643752416", "maskedNumber": "+8 (964) 375-24-16", "type": 2}
    assert account.read(number, "phones") == {"phones": [masked]}
    update(account, number, {"phones": []})
    assert account.read(number, "phones") == {"phones": []}


@pytest.mark.parametrize("written", ["01-12-1991", "01.12.1991", {"date": "01-12-1991"}, {"date": "01.12.1991"}])
def test_birth_dates_are_taken_in_every_form_seen(account: Account, written: Any) -> None:
    number = account.planfix.add_contact({"name": "Ann"})
    update(account, number, {"birthDate": written})
    point = {"date": "01-12-1991", "time": "00:00", "datetime": "1991-12-01T00:00Z"}
    assert account.read(number, "birthDate") == {"birthDate": point}
    update(account, number, {"birthDate": None})
    assert account.read(number, "birthDate") == {"birthDate": None}


def test_telegram_becomes_an_address(account: Account) -> None:
    number = account.planfix.add_contact({"name": "Ann"})
    for written in ("@ann_lee", "ann_lee", "t.me/ann_lee", "https://t.me/ann_lee"):
        update(account, number, {"telegram": written})
        assert account.read(number, "telegram") == {"telegram": "https://t.me/ann_lee"}


def test_a_name_cannot_be_emptied(account: Account) -> None:
    number = account.planfix.add_contact({"name": "Ann", "lastname": "Lee"})
    assert account.code("POST", f"/contact/{number}", {"name": ""}) == (400, 2006)
    assert account.code("POST", "/contact/", {"lastname": "Lee"}) == (400, 2006)
    lenient = Account(name_required="full_name")
    number = lenient.planfix.add_contact({"name": "Ann", "lastname": "Lee"})
    update(lenient, number, {"name": ""})
    assert lenient.code("POST", f"/contact/{number}", {"lastname": ""}) == (400, 2006)


def test_an_email_belongs_to_one_contact_or_employee(account: Account) -> None:
    account.planfix.add_employee("Olga", email="olga@example.com", secondary_emails=["o@example.com"])
    account.planfix.add_contact(
        {"name": "Ann", "email": "ann@example.com", "additionalEmailAddresses": ["ann@home.example"]}
    )
    bob = account.planfix.add_contact({"name": "Bob"})
    for taken in ("ANN@example.com", "ann@home.example", "olga@example.com", "o@example.com"):
        assert account.code("POST", f"/contact/{bob}", {"email": taken}) == (400, 2005)
        assert account.code("POST", "/contact/", {"name": "C", "email": taken}) == (400, 2001)
    assert account.code("POST", f"/contact/{bob}", {"email": "no address"}) == (400, 2004)
    update(account, bob, {"email": "bob@example.com"})
    update(account, bob, {"email": "BOB@example.com"})


def test_a_refused_request_changes_nothing(account: Account) -> None:
    number = account.planfix.add_contact({"name": "Ann"})
    account.planfix.add_contact({"name": "Bob", "email": "bob@example.com"})
    before = account.planfix.dump()
    assert account.code("POST", f"/contact/{number}", {"position": "CEO", "email": "bob@example.com"})[0] == 400
    assert account.code("POST", "/contact/", {"name": "C", "email": "bob@example.com"})[0] == 400
    assert account.planfix.dump() == before
    assert account.planfix.add_contact({"name": "D"}) == number + 2


def test_additional_emails_are_ignored_refused_or_written(account: Account) -> None:
    body = {"additionalEmailAddresses": ["more@example.com"]}
    number = account.planfix.add_contact({"name": "Ann"})
    assert update(account, number, body) == {"result": "success"}
    assert account.read(number, "additionalEmailAddresses") == {"additionalEmailAddresses": []}
    refusing = Account(additional_emails="refused")
    number = refusing.planfix.add_contact({"name": "Ann"})
    assert update(refusing, number, body)["failures"][0]["field"] == "additionalEmailAddresses"
    writable = Account(additional_emails="writable")
    number = writable.planfix.add_contact({"name": "Ann"})
    update(writable, number, body)
    assert writable.read(number, "additionalEmailAddresses") == body


def test_refused_fields_are_named_in_a_successful_answer(account: Account) -> None:
    number = account.planfix.add_contact({"name": "Ann"})
    body = {"companies": [{"id": 999}], "birthDate": "31-02-2000", "position": "CEO"}
    answer = update(account, number, body)
    assert answer["result"] == "success"
    assert answer["failures"] == [
        {"field": "companies", "error": "Field change failed"},
        {"field": "birthDate", "error": "Field change failed"},
    ]
    assert account.read(number, "position") == {"position": "CEO"}
    single = Account(failures_shape="object", readonly_fields=frozenset({"position"}))
    number = single.planfix.add_contact({"name": "Ann"})
    assert update(single, number, {"position": "CEO"})["failures"] == {
        "field": "position",
        "error": "Field change failed",
    }


def test_companies_are_linked_by_number_and_shown_by_name(account: Account) -> None:
    firm = account.planfix.add_contact({"name": "Firm", "isCompany": True, "template": {"id": 2}})
    number = account.planfix.add_contact({"name": "Ann", "lastname": "Lee"})
    update(account, number, {"companies": [{"id": firm}]})
    assert account.read(number, "companies") == {"companies": [{"id": firm, "name": "Firm"}]}
    assert account.read(firm, "contacts") == {"contacts": [{"id": f"contact:{number}", "name": "Ann Lee"}]}
    account.planfix.edit_contact(firm, {"name": "Firm Ltd"})
    assert account.read(number, "companies") == {"companies": [{"id": firm, "name": "Firm Ltd"}]}
    assert update(account, number, {"companies": [{"id": number}]})["failures"]


def test_emoji_are_kept_stripped_or_refused(account: Account) -> None:
    number = account.planfix.add_contact({"name": "Ann"})
    update(account, number, {"description": "hi 🙂"})
    assert account.read(number, "description") == {"description": "hi 🙂"}
    strict = Account(emoji="reject")
    number = strict.planfix.add_contact({"name": "Ann"})
    assert strict.code("POST", f"/contact/{number}", {"description": "hi 🙂"}) == (400, 30)


def test_a_silent_write_moves_the_time_of_change_unless_switched_off() -> None:
    for bumps in (True, False):
        account = Account(silent_bumps_modified=bumps)
        number = account.planfix.add_contact({"name": "Ann"})
        account.clock.now_s += 600
        update(account, number, {"position": "CEO"}, silent="true")
        found = account.listed(filters=[modified_after("18-11-2026 14:10")])
        assert found == ([number] if bumps else [])


def test_a_queued_update_is_applied_later(account: Account) -> None:
    number = account.planfix.add_contact({"name": "Ann"})
    account.planfix.queue_next_updates(1)
    assert account.call("POST", f"/contact/{number}", {"position": "CEO"}) == (202, None)
    assert account.read(number, "position") == {"position": ""}
    account.clock.now_s += 5
    assert account.read(number, "position") == {"position": "CEO"}


def test_trashing_through_the_api_works_and_is_a_violation(account: Account) -> None:
    first, second = (account.planfix.add_contact({"name": name}) for name in ("Ann", "Bob"))
    account.planfix.trash_contact(account.planfix.add_contact({"name": "Cid"}))
    assert account.planfix.violations == [], "people may trash"
    update(account, first, {"isDeleted": True})
    rows = [{"id": second, "name": "Bob", "isDeleted": True}]
    body = {"contacts": rows, "optionImportDuplicate": "update", "optionImportUniqueField": "number"}
    assert account.call("POST", "/contact/import", body) == (201, None)
    assert account.listed() == []
    assert [each["contact"] for each in account.planfix.violations] == [first, second]
    update(account, first, {"isDeleted": False})
    assert account.listed() == [first]


def test_an_import_finds_duplicates_and_answers_without_numbers(account: Account) -> None:
    number = account.planfix.add_contact({"name": "Ann", "email": "ann@example.com"})
    rows = [{"name": "Ann", "email": "ann@example.com", "position": "CEO"}, {"name": "New"}]
    body = {"contacts": rows, "optionImportDuplicate": "update", "optionImportUniqueField": "email-phone"}
    assert account.call("POST", "/contact/import", body) == (201, None)
    assert account.read(number, "position") == {"position": "CEO"}
    assert account.listed() == [number, number + 1]


def test_logical_failures_can_come_as_success() -> None:
    account = Account(failures_as_200=True)
    assert account.code("GET", "/contact/99") == (200, 2000)
    assert account.code("GET", "/ping", token="other") == (401, 1)


def test_hidden_fields_look_empty_or_are_absent() -> None:
    hidden = frozenset({"phones", "position"})
    fields = {"name": "Ann", "position": "CEO", "phones": [{"number": "4915112345678", "type": 1}]}
    empty = Account(hidden_fields=hidden)
    number = empty.planfix.add_contact(fields)
    assert empty.read(number, "name,phones,position") == {"name": "Ann", "position": "", "phones": []}
    absent = Account(hidden_fields=hidden, hidden_as="absent")
    number = absent.planfix.add_contact(fields)
    assert absent.read(number, "name,phones,position") == {"name": "Ann"}


def test_merged_contacts_leave_their_phones_and_emails_to_the_survivor(account: Account) -> None:
    stays = account.planfix.add_contact({"name": "Ann", "email": "ann@example.com"})
    goes = account.planfix.add_contact(
        {"name": "Anna", "email": "anna@example.com", "phones": [{"number": "4915112345678", "type": 1}]}
    )
    account.planfix.merge_contacts(stays, goes)
    assert account.listed() == [stays]
    assert account.code("GET", f"/contact/{goes}") == (404, 2000)
    survivor = account.read(stays, "additionalEmailAddresses,phones")
    assert survivor["additionalEmailAddresses"] == ["anna@example.com"]
    assert survivor["phones"][0]["number"] == "4915112345678"


def test_touching_everything_changes_times_only(account: Account) -> None:
    number = account.planfix.add_contact({"name": "Ann"})
    before = account.read(number, "name,phones,email")
    account.clock.now_s += 600
    assert account.planfix.touch_all() == 1
    assert account.read(number, "name,phones,email") == before
    assert account.listed(filters=[modified_after("18-11-2026 14:10")]) == [number]


def test_employees_are_listed_with_role_status_and_addresses(account: Account) -> None:
    user = account.planfix.add_employee("Olga", email="olga@example.com", secondary_emails=["o@example.com"])
    fields = "id,name,role,login,email,secondaryEmails,status"
    _, answer = account.call("POST", "/user/list", {"fields": fields})
    assert answer["users"][1] == {
        "id": user,
        "name": "Olga",
        "role": "User",
        "login": "olga@example.com",
        "email": "olga@example.com",
        "secondaryEmails": ["o@example.com"],
        "status": "Active",
    }
    account.planfix.set_employee_status(user, "Inactive")
    _, answer = account.call("POST", "/user/list", {"fields": "id", "onlyActive": True})
    assert [each["id"] for each in answer["users"]] == [account.planfix.robot]


def test_metadata_is_listed(account: Account) -> None:
    account.planfix.add_group("Clients")
    account.planfix.add_custom_field("Contract")
    assert account.call("GET", "/contact/groups")[1]["groups"] == [{"id": 1, "name": "Clients"}]
    assert account.call("GET", "/contact/templates")[1]["templates"] == [{"id": 1, "name": "Person"}]
    companies = account.call("GET", "/contact/templates", query={"isCompany": "true"})[1]["templates"]
    assert companies == [{"id": 2, "name": "Company"}]
    custom = account.call("GET", "/customfield/contact", query={"fields": "id,name,type"})[1]["customfields"]
    assert custom == [{"id": 10, "name": "Contract", "type": 0}]


def test_every_control_method_exists_and_a_dump_is_json(account: Account) -> None:
    assert all(callable(getattr(account.planfix, name)) for name in account.planfix.CONTROL)
    account.planfix.seed(60, seed=3, filters=2)
    assert orjson.loads(orjson.dumps(account.planfix.dump())) == account.planfix.dump()
    orjson.dumps(account.planfix.statistics())


def test_a_seeded_account_is_the_same_for_the_same_seed() -> None:
    def dump() -> object:
        planfix = PlanfixSimulator(Clock(), PlanfixOptions(), Faults())
        made = planfix.seed(300, seed=9, filters=3)
        contacts = planfix.dump()["contacts"]
        assert isinstance(contacts, list)
        assert len(contacts) == 300 + len([each for each in contacts if each["isCompany"]])
        return made, contacts

    assert dump() == dump()


def test_listing_a_big_filter_does_not_scan_the_account_for_every_page(account: Account) -> None:
    filters = account.planfix.seed(5000)["filters"]
    assert isinstance(filters, list)
    fields = "id,name,phones,email,dateOfLastUpdate"
    pages = [
        account.call("POST", "/contact/list", {"fields": fields, "filterId": filters[0], "offset": offset})
        for offset in range(0, 5001, 100)
    ]
    numbers = [contact["id"] for _, answer in pages for contact in answer["contacts"]]
    assert len(numbers) == len(set(numbers)) == 5000
    assert numbers == sorted(numbers)
    assert pages[-1][1]["contacts"] == []


@pytest.mark.parametrize("seed", range(5))
def test_lists_stay_right_through_any_edits(seed: int) -> None:
    """The members kept by increments are those that looking at every contact gives."""
    account, rng = Account(), random.Random(seed)
    planfix = account.planfix
    filters: Any = planfix.seed(40, seed=seed, filters=2)["filters"]
    filters.append(planfix.add_filter("Set", planfix.robot, {"kind": "ids", "ids": [3, 5, 8]}))
    filters.append(planfix.add_filter("A", planfix.robot, {"kind": "name_prefix", "prefix": "a"}))
    modified = {number: contact.modified_s for number, contact in planfix.store.contacts.items()}
    for _ in range(150):
        account.clock.now_s += 60
        number = rng.choice(list(modified))
        match rng.randrange(6):
            case 0:
                planfix.edit_contact(number, {"name": rng.choice(("Ada", "Bea"))})
            case 1:
                planfix.trash_contact(number)
            case 2:
                planfix.restore_contact(number)
            case 3:
                number = planfix.add_contact({"name": "Abe", "group": {"id": rng.choice((1, 2))}})
            case 4:
                planfix.put_into_filter(rng.choice(filters[:2]), number)
            case _:
                planfix.remove_from_filter(filters[0], number)
        modified[number] = account.clock.now_s
        contacts: Any = planfix.dump()["contacts"]
        alive = [each for each in contacts if not each["isDeleted"] and not each["isCompany"]]
        assert account.listed(filterId=filters[0]) == [each["id"] for each in alive if _group(each) == 1]
        assert account.listed(filterId=filters[2]) == [each["id"] for each in alive if each["id"] in (3, 5, 8)]
        assert account.listed(filterId=filters[3]) == [each["id"] for each in alive if each["name"][0] in "aA"]
        since_s = account.clock.now_s - 600
        value = {"dateType": "otherDate_withTime", "dateFrom": _berlin(since_s)}
        recent = account.listed(filters=[{"type": 38, "operator": "gt", "value": value}])
        assert recent == [each["id"] for each in alive if modified[each["id"]] >= since_s + 60]


def _group(contact: dict[str, Any]) -> int | None:
    return None if contact["group"] is None else contact["group"]["id"]


def _berlin(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, ZoneInfo("Europe/Berlin")).strftime("%d-%m-%Y %H:%M")


def test_the_hour_that_comes_twice_is_read_as_its_second_pass() -> None:
    for later, expected in ((True, []), (False, [1])):
        account = Account(ambiguous_hour_is_later=later)
        account.clock.now_s = datetime(2026, 10, 25, 0, 45, tzinfo=UTC).timestamp()  # 02:45, the first time
        account.planfix.add_contact({"name": "Ann"})
        account.clock.now_s += 7200
        assert account.listed(filters=[modified_after("25-10-2026 02:30")]) == expected
