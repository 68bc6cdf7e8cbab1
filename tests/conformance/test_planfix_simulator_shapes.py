"""Every answer of the simulated Planfix has the shape that the vendor's OpenAPI document promises.

Where the document contradicts its own examples or what clients see, `DEVIATIONS` says so and the schema is
loosened there and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from openapi_schema_validator import OAS30Validator

from contactsync.simulators.planfix_json import CONTACT_FIELDS
from contactsync.simulators.seed import planfix_contacts
from simulated_planfix import Account

SHARED = Path(os.environ.get("CONTACTSYNC_SHARED", Path(__file__).resolve().parents[3] / "shared"))
DOCUMENT = SHARED / "facts" / "planfix-openapi.json"
ALL_FIELDS = ",".join((*CONTACT_FIELDS, "10"))

DEVIATIONS = (
    "enums that list `value // meaning` or all languages in one string are no enums of values",
    "a language that is not set is an empty string",
    "a custom field's value is not always an object: the document's own example is a string",
    "a birth date or a group that is not set is null",
    "with prefixedId a number is a string",
    "failures come as the documented array or as the single object of the document's example",
)

pytestmark = pytest.mark.skipif(not DOCUMENT.exists(), reason="the vendor's OpenAPI document is not here")


def loosened(node: Any, name: str = "") -> Any:
    """The schema with DEVIATIONS applied."""
    if isinstance(node, list):
        return [loosened(each) for each in node]
    if not isinstance(node, dict):
        return node
    schema = {key: loosened(value, key) for key, value in node.items() if key not in ("example", "x-examples")}
    words = schema.get("enum")
    if isinstance(words, list):
        if any(" // " in str(word) or " - " in str(word) for word in words):
            del schema["enum"]
        elif "En" in words:
            schema["enum"] = [*words, ""]
    if name in ("birthDate", "group") and "allOf" in schema:
        return {"anyOf": [schema, {"enum": [None], "nullable": True}]}
    if name == "value" and schema.get("type") == "object":
        return {}
    if name == "failures":
        return {"anyOf": [schema, schema["items"]]}
    return schema


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = orjson.loads(DOCUMENT.read_bytes())
    return loaded


@pytest.fixture(scope="module")
def holds(document: dict[str, Any]) -> Callable[[str, str, int, Any], None]:
    """Checks an answer against what its operation documents for its status."""
    components = loosened(document["components"])

    def check(method: str, path: str, status: int, answer: Any) -> None:
        responses = document["paths"][path][method.lower()]["responses"]
        assert str(status) in responses, f"{method} {path} does not document {status}"
        content = responses[str(status)].get("content", {})
        if not content:
            assert answer is None
            return
        documented = loosened(next(iter(content.values()))["schema"])
        validator = OAS30Validator({"allOf": [documented], "components": components})
        assert [error.message for error in validator.iter_errors(answer)] == []

    return check


@pytest.fixture
def account() -> Account:
    account = Account()
    owner = account.planfix.add_employee("Olga", lastname="Berg", email="olga@example.com")
    custom = account.planfix.add_custom_field("Contract")
    account.planfix.seed(150, seed=5, filters=2, owner=owner, custom_field=custom)
    return account


Check = Callable[[str, str, int, Any], None]


@pytest.mark.parametrize("companies", [False, True])
def test_lists_have_contact_responses(account: Account, holds: Check, companies: bool) -> None:
    status, answer = account.call("POST", "/contact/list", {"fields": ALL_FIELDS, "isCompany": companies})
    assert answer["contacts"]
    assert answer["contacts"][0].keys() >= set(CONTACT_FIELDS)
    holds("POST", "/contact/list", status, answer)


def test_single_contacts_and_their_absence_have_the_documented_shape(account: Account, holds: Check) -> None:
    for number in (1, 5, 20, 9999):
        status, answer = account.call("GET", f"/contact/{number}", query={"fields": ALL_FIELDS})
        holds("GET", "/contact/{id}", status, answer)


def test_creates_and_updates_answer_as_documented(account: Account, holds: Check) -> None:
    status, answer = account.call("POST", "/contact/", {"name": "Ann", "email": "ann@example.com"})
    holds("POST", "/contact/", status, answer)
    status, answer = account.call("POST", "/contact/", {"name": "Twin", "email": "ann@example.com"})
    assert status == 400
    holds("POST", "/contact/", status, answer)
    status, answer = account.call("POST", "/contact/20", {"companies": [{"id": 9999}]})
    assert answer["failures"]
    holds("POST", "/contact/{id}", status, answer)
    status, answer = account.call("POST", "/contact/9999", {"name": "X"})
    holds("POST", "/contact/{id}", status, answer)
    account.planfix.queue_next_updates(1)
    status, answer = account.call("POST", "/contact/20", {"name": "X"})
    assert status == 202
    holds("POST", "/contact/{id}", status, answer)


def test_an_import_answers_as_documented(account: Account, holds: Check) -> None:
    status, answer = account.call("POST", "/contact/import", {"contacts": [{"name": "New"}]})
    holds("POST", "/contact/import", status, answer)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/ping"),
        ("POST", "/contact/filters"),
        ("GET", "/contact/groups"),
        ("GET", "/contact/templates"),
        ("GET", "/customfield/contact"),
    ],
)
def test_metadata_has_the_documented_shape(account: Account, holds: Check, method: str, path: str) -> None:
    holds(method, path, *account.call(method, path))


def test_employees_have_user_responses(account: Account, holds: Check) -> None:
    fields = "id,name,lastname,role,login,email,secondaryEmails,status,timezone"
    status, answer = account.call("POST", "/user/list", {"fields": fields})
    assert len(answer["users"]) == 2
    holds("POST", "/user/list", status, answer)


def test_an_unknown_token_is_answered_as_documented(account: Account, holds: Check) -> None:
    holds("GET", "/ping", *account.call("GET", "/ping", token="other"))


def test_invented_contacts_are_valid_requests(document: dict[str, Any]) -> None:
    components = loosened(document["components"])
    reference = {"$ref": "#/components/schemas/ContactRequest"}
    validator = OAS30Validator({"allOf": [reference], "components": components})
    people, companies = planfix_contacts(200, seed=11, custom_field=10)
    for contact in (*people, *companies):
        written = {name: value for name, value in contact.items() if name != "employer"}
        assert [error.message for error in validator.iter_errors(written)] == []


def test_a_wrong_shape_is_noticed(holds: Check) -> None:
    with pytest.raises(AssertionError):
        holds("POST", "/contact/list", 200, {"result": "success", "contacts": [{"id": "one"}]})
