"""The simulated Planfix API answers as the real one is documented to, and harshly where it is not."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from contactsync.simulators.faults import Fault
from contactsync.simulators.wire import Request
from simulated_planfix import Account, modified_after


@pytest.fixture
def account() -> Account:
    return Account()


# -- who may ask ---------------------------------------------------------------------------------------------


def test_a_ping_with_a_known_token_succeeds(account: Account) -> None:
    assert account.call("GET", "/ping") == (200, {"result": "success"})


def test_an_unknown_token_is_refused(account: Account) -> None:
    assert account.code("GET", "/ping", token="other") == (401, 1)


def test_a_missing_scope_is_answered_like_a_wrong_method(account: Account) -> None:
    account.planfix.add_token("narrow", account.planfix.robot, ["contact_readonly"])
    assert account.code("POST", "/contact/", {"name": "A"}, token="narrow") == (405, 5)
    assert account.call("POST", "/contact/list", {}, token="narrow")[0] == 200


@pytest.mark.parametrize(("plan", "code"), [("unpaid", 20), ("free", 21)])
def test_an_account_that_is_not_paid_is_refused(account: Account, plan: str, code: int) -> None:
    account.planfix.set_plan(plan)
    assert account.code("GET", "/ping") == (403, code)
    account.planfix.set_plan("paid")
    assert account.call("GET", "/ping")[0] == 200


def test_a_frozen_account_and_an_inactive_employee_are_refused(account: Account) -> None:
    user = account.planfix.add_employee("Ann", email="ann@example.com")
    account.planfix.add_token("ann", user)
    account.planfix.set_employee_status(user, "Inactive")
    assert account.code("GET", "/ping", token="ann") == (403, 16)
    account.planfix.freeze_account()
    assert account.code("GET", "/ping") == (403, 11)


def test_unknown_paths_and_wrong_methods_are_told_apart(account: Account) -> None:
    assert account.code("GET", "/contact/list") == (405, 405)
    assert account.code("DELETE", "/contact/1") == (405, 405)
    assert account.code("GET", "/contacts") == (404, 0)


def test_a_body_that_is_no_json_has_code_30(account: Account) -> None:
    response = account.planfix.handle(
        Request("POST", "/rest/contact/list", {}, {"authorization": "Bearer simulated-planfix-token"}, b"{nope")
    )
    assert (response.status, orjson.loads(response.body)["code"]) == (400, 30)


# -- limits --------------------------------------------------------------------------------------------------


def test_a_second_request_within_a_second_is_refused_and_counted() -> None:
    account = Account(requests_per_second=1.0)
    assert account.call("GET", "/ping")[0] == 200
    account.clock.now_s += 0.9
    assert account.call("GET", "/ping")[0] == 429
    account.clock.now_s += 0.9
    assert account.call("GET", "/ping")[0] == 429, "a refused request is an arrival too"
    account.clock.now_s += 1.0
    assert account.call("GET", "/ping")[0] == 200
    assert account.planfix.counters["too_many_requests"] == 2


def test_the_day_ends_with_403_code_22_and_the_time_to_the_next() -> None:
    account = Account(requests_per_day=2)
    assert [account.call("GET", "/ping")[0] for _ in range(2)] == [200, 200]
    response = account.ask("GET", "/ping")
    body = orjson.loads(response.body)
    assert (response.status, body["code"]) == (403, 22)
    assert int(response.headers["x-ratelimit-reset"]) == pytest.approx(body["timeToReset"] / 1000, abs=1)
    account.clock.now_s += body["timeToReset"] / 1000 + 1
    assert account.call("GET", "/ping")[0] == 200


def test_the_remaining_requests_are_shown_as_of_ten_minutes_ago() -> None:
    account = Account(requests_per_day=100)
    first, second = (account.ask("GET", "/ping").headers["X-RateLimit-Remaining"] for _ in range(2))
    account.clock.now_s += 600
    assert (first, second, account.ask("GET", "/ping").headers["X-RateLimit-Remaining"]) == ("99", "99", "97")


# -- lists ---------------------------------------------------------------------------------------------------


def test_a_list_without_is_company_has_persons_only_in_order_of_number(account: Account) -> None:
    ann = account.planfix.add_contact({"name": "Ann"})
    firm = account.planfix.add_contact({"name": "Firm", "isCompany": True, "template": {"id": 2}})
    bob = account.planfix.add_contact({"name": "Bob"})
    assert account.listed() == [ann, bob]
    assert account.listed(isCompany=True) == [firm]
    assert account.listed(filterId=":company") == []


def test_pages_are_cut_at_a_hundred_and_larger_ones_refused(account: Account) -> None:
    numbers = [account.planfix.add_contact({"name": f"C{index}"}) for index in range(130)]
    assert account.listed(offset=0) + account.listed(offset=100) == numbers
    assert account.listed(offset=200) == []
    assert account.code("POST", "/contact/list", {"pageSize": 101}) == (400, 41)


def test_only_asked_fields_are_returned(account: Account) -> None:
    custom = account.planfix.add_custom_field("Contract")
    value = [{"field": {"id": custom}, "value": "C-1"}]
    number = account.planfix.add_contact({"name": "Ann", "customFieldData": value})
    _, answer = account.call("POST", "/contact/list", {"fields": f"id,name,nonsense,{custom}"})
    (contact,) = answer["contacts"]
    assert contact.keys() == {"id", "name", "customFieldData"}
    assert contact["customFieldData"][0]["value"] == "C-1"
    assert account.read(number, "name") == {"name": "Ann"}


def test_prefixed_numbers_are_given_and_taken(account: Account) -> None:
    number = account.planfix.add_contact({"name": "Ann"})
    _, answer = account.call("POST", "/contact/list", {"fields": "id", "prefixedId": True})
    assert answer["contacts"] == [{"id": f"contact:{number}"}]
    assert account.call("GET", f"/contact/contact:{number}", query={"fields": "id"})[0] == 200


def test_an_unknown_filter_is_an_error_but_an_unknown_filter_type_an_empty_success(account: Account) -> None:
    account.planfix.add_contact({"name": "Ann"})
    assert account.code("POST", "/contact/list", {"filterId": "999"}) == (400, 41)
    assert account.code("POST", "/contact/list", {"filterId": "contact"}) == (400, 41)
    assert account.listed(filters=[{"type": 4999, "operator": "equal", "value": 1}]) == []
    assert account.code("POST", "/contact/list", {"filters": [{"type": 38}]}) == (400, 40)


def test_trashed_contacts_vanish_from_lists_and_come_back_restored(account: Account) -> None:
    number = account.planfix.add_contact({"name": "Ann"})
    account.planfix.trash_contact(number)
    assert account.listed() == []
    assert account.code("GET", f"/contact/{number}") == (404, 2000)
    assert account.code("POST", f"/contact/{number}", {"name": "B"}) == (404, 2000)
    account.planfix.restore_contact(number)
    assert account.listed() == [number]


def test_a_list_may_show_the_trash_if_switched_on() -> None:
    account = Account(list_trashed=True, get_trashed=True)
    number = account.planfix.add_contact({"name": "Ann"})
    account.planfix.trash_contact(number)
    assert account.listed() == [number]
    assert account.read(number, "isDeleted") == {"isDeleted": True}


def test_a_list_can_lose_its_end_or_everything_without_saying_so(account: Account) -> None:
    numbers = [account.planfix.add_contact({"name": f"C{index}"}) for index in range(10)]
    for kind, keep, seen in (("short_page", None, 5), ("short_page", 3, 3), ("empty_page", None, 0)):
        account.planfix.faults.add(Fault(kind=kind, path="/contact/list", keep=keep))
        assert account.listed() == numbers[:seen]
        assert account.listed() == numbers
    account.planfix.faults.add(Fault(kind="empty_page", path="/contact/filters"))
    assert account.call("POST", "/contact/filters")[1]["filters"] == []


# -- complex filters -----------------------------------------------------------------------------------------


def test_the_same_minute_is_not_later_than_itself(account: Account) -> None:
    number = account.planfix.add_contact({"name": "Ann"})
    account.clock.now_s += 59
    account.planfix.edit_contact(number, {"position": "CEO"})
    assert account.listed(filters=[modified_after("18-11-2026 14:06")]) == [number]
    assert account.listed(filters=[modified_after("18-11-2026 14:07")]) == []
    account.clock.now_s += 1
    account.planfix.edit_contact(number, {"position": "CFO"})
    assert account.listed(filters=[modified_after("18-11-2026 14:07")]) == [number]


def test_a_date_with_time_is_read_from_date_from_alone(account: Account) -> None:
    account.planfix.add_contact({"name": "Ann"})
    value = {"dateType": "otherDate_withTime", "dateValue": "18-11-2026 10:00"}
    assert account.listed(filters=[{"type": 38, "operator": "gt", "value": value}]) == []


def test_dates_are_in_the_time_zone_of_the_tokens_employee(account: Account) -> None:
    number = account.planfix.add_contact({"name": "Ann"})
    tokyo = account.planfix.add_employee("Kenji", timezone="Asia/Tokyo", email="kenji@example.com")
    account.planfix.add_token("tokyo", tokyo)
    body = {"fields": "id,dateOfLastUpdate", "filters": [modified_after("18-11-2026 22:06")]}
    _, answer = account.call("POST", "/contact/list", body, token="tokyo")
    assert answer["contacts"][0]["id"] == number
    assert answer["contacts"][0]["dateOfLastUpdate"] == {
        "date": "18-11-2026",
        "time": "22:07",
        "datetime": "2026-11-18T22:07Z",
        "dateTimeUtcSeconds": "2026-11-18T13:07:00+0000",
    }
    assert account.listed(filters=body["filters"]) == []


def test_a_whole_day_is_not_later_than_itself(account: Account) -> None:
    number = account.planfix.add_contact({"name": "Ann"})

    def listed(operator: str, **value: str) -> list[int]:
        return account.listed(filters=[{"type": 12, "operator": operator, "value": value}])

    assert listed("gt", dateType="yesterday") == [number]
    assert listed("gt", dateType="today") == []
    assert listed("equal", dateType="today") == [number]
    assert listed("gt", dateType="otherDate", dateValue="17-11-2026") == [number]
    assert listed("gt", dateType="otherDate", dateFrom="18-11-2026") == []
    assert listed("lt", dateType="otherDate", dateFrom="19-11-2026") == [number]
    assert listed("equal", dateType="last", dateValue="3") == [number]


def test_contacts_are_found_by_what_they_contain(account: Account) -> None:
    group = account.planfix.add_group("Clients")
    custom = account.planfix.add_custom_field("Segment")
    ann = account.planfix.add_contact(
        {
            "name": "Ann",
            "lastname": "Lee",
            "email": "Ann.Lee@example.com",
            "additionalEmailAddresses": ["lee@home.example"],
            "phones": [{"number": "+49 1511 2345678", "type": 1}],
            "group": {"id": group},
            "customFieldData": [{"field": {"id": custom}, "value": "Gold"}],
        }
    )
    bob = account.planfix.add_contact({"name": "Bob", "email": "lee@example.com"})

    def found(kind: int, value: Any, operator: str = "equal", **extra: Any) -> list[int]:
        return account.listed(filters=[{"type": kind, "operator": operator, "value": value} | extra])

    assert found(4026, "ann.lee@EXAMPLE.com") == [ann]
    assert found(4026, "lee@example") == []
    assert found(4005, "lee@") == [ann, bob]
    assert found(4221, "home") == [ann]
    assert found(4003, "+49 (1511)") == [ann]
    assert found(4001, "lee") == [ann]
    assert found(4014, "bo") == [bob]
    assert found(4015, "lee", "notequal") == [bob]
    assert found(4008, group) == [ann]
    assert found(4016, 1) == [ann, bob]
    assert found(4101, "Gold", field=custom) == [ann]
    assert found(4101, "ol", "have", field=custom) == [ann]
    assert found(4231, [bob, 4711]) == [bob]
    assert found(4231, ann) == [ann]
    assert found(4231, [ann], "notequal") == [bob]
    assert found(4006, True) == []
    assert found(4007, 1) == [ann, bob]


def test_filters_are_joined_with_and_within_a_saved_filter(account: Account) -> None:
    owner = account.planfix.add_employee("Olga", email="olga@example.com")
    ann, bob, cid = (account.planfix.add_contact({"name": name}) for name in ("Ann", "Bob", "Cid"))
    saved = account.planfix.add_filter("Mine", owner, {"kind": "ids", "ids": [ann, bob]})
    account.planfix.set_visible(owner, [bob], False)
    visible = {"type": 47, "operator": "equal", "value": f"user:{owner}"}
    asked = {"type": 4231, "operator": "equal", "value": [ann, bob, cid]}
    assert account.listed(filterId=saved, filters=[visible, asked]) == [ann]
    account.planfix.set_editable(owner, None, False)
    account.planfix.set_editable(owner, [cid], True)
    assert account.listed(filters=[visible | {"type": 48}]) == [cid]


def test_an_employee_can_be_bound_to_supervised_contacts_and_groups(account: Account) -> None:
    group = account.planfix.add_group("Open")
    ann = account.planfix.add_employee("Ann", email="ann@example.com")
    account.planfix.add_token("ann", ann)
    own = account.planfix.add_contact({"name": "Own", "supervisors": {"users": [{"id": f"user:{ann}"}]}})
    open_one = account.planfix.add_contact({"name": "Open", "group": {"id": group}})
    other = account.planfix.add_contact({"name": "Other"})
    account.planfix.set_access_rule(ann, supervised=True, groups=[group])
    account.planfix.set_access_rule(ann, supervised=True, edit=True)
    _, answer = account.call("POST", "/contact/list", {"fields": "id"}, token="ann")
    assert [contact["id"] for contact in answer["contacts"]] == [own, open_one]
    assert account.code("GET", f"/contact/{other}", token="ann") == (400, 6)
    assert account.code("POST", f"/contact/{open_one}", {"name": "X"}, token="ann") == (403, 6)
    assert account.call("POST", f"/contact/{own}", {"name": "X"}, token="ann")[0] == 200


# -- saved filters -------------------------------------------------------------------------------------------


def test_saved_filters_show_owner_and_name_but_no_conditions(account: Account) -> None:
    owner = account.planfix.add_employee("Olga", lastname="Berg", email="olga@example.com")
    saved = account.planfix.add_filter("Clients", owner, {"kind": "all"})
    _, answer = account.call("POST", "/contact/filters")
    assert answer["filters"] == [
        {"id": ":contact", "name": "Contacts"},
        {"id": ":company", "name": "Companies"},
        {"id": saved, "name": "Clients", "owner": {"id": f"user:{owner}", "name": "Olga Berg"}},
    ]
    account.planfix.unshare_filter(saved)
    _, answer = account.call("POST", "/contact/filters")
    assert [each["id"] for each in answer["filters"]] == [":contact", ":company"]
    assert account.code("POST", "/contact/list", {"filterId": saved}) == (400, 41)


@pytest.mark.parametrize("kind", ["group", "custom", "supervisor", "template", "ids"])
def test_a_contact_can_be_moved_in_and_out_of_a_filter(account: Account, kind: str) -> None:
    planfix = account.planfix
    owner = planfix.add_employee("Olga", email="olga@example.com")
    conditions: dict[str, dict[str, Any]] = {
        "group": {"kind": "group", "group": planfix.add_group("G")},
        "custom": {"kind": "custom", "field": planfix.add_custom_field("F"), "value": "yes"},
        "supervisor": {"kind": "supervisor", "user": owner},
        "template": {"kind": "template", "template": planfix.add_template("T")},
        "ids": {"kind": "ids", "ids": []},
    }
    saved = planfix.add_filter("F", owner, conditions[kind])
    number = planfix.add_contact({"name": "Ann"})
    assert account.listed(filterId=saved) == []
    planfix.put_into_filter(saved, number)
    assert account.listed(filterId=saved) == [number]
    planfix.remove_from_filter(saved, number)
    assert account.listed(filterId=saved) == []


def test_entering_an_explicit_set_is_no_modification(account: Account) -> None:
    owner = account.planfix.add_employee("Olga", email="olga@example.com")
    number = account.planfix.add_contact({"name": "Ann"})
    saved = account.planfix.add_filter("F", owner, {"kind": "ids", "ids": []})
    account.clock.now_s += 600
    account.planfix.put_into_filter(saved, number)
    assert account.listed(filterId=saved, filters=[modified_after("18-11-2026 14:10")]) == []


def test_a_filters_condition_can_select_nothing_and_everything_again(account: Account) -> None:
    owner = account.planfix.add_employee("Olga", email="olga@example.com")
    number = account.planfix.add_contact({"name": "Ann"})
    saved = account.planfix.add_filter("F", owner, {"kind": "all"})
    assert account.listed(filterId=saved) == [number]
    account.planfix.set_filter_condition(saved, {"kind": "name_prefix", "prefix": "zz"})
    assert account.listed(filterId=saved) == []
    account.planfix.set_filter_condition(saved, {"kind": "name_prefix", "prefix": "an"})
    assert account.listed(filterId=saved) == [number]
    account.planfix.delete_filter(saved)
    assert account.code("POST", "/contact/list", {"filterId": saved}) == (400, 41)
