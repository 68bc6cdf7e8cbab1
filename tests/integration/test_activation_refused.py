"""Who may not activate gets a page that says why, and nothing is switched on; a dead grant rests until renewed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from installation import Filter, Installation, follow, installed

from contactsync.gateway.links import LINK_VALID_S, Signer
from contactsync.runtime.vault import Vault

pytestmark = pytest.mark.nats

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("activation")
    with installed(folder, contacts=24, filters=2, settings={"SECRET_KEYS": KEY}) as found:
        found.start_up()
        yield found
        assert found.end("up") == 0


@pytest.fixture
def other(site: Installation) -> Iterator[Filter]:
    """A filter that nobody activates; whatever the test did to it is put right afterwards."""
    one = site.filters[1]
    yield one
    site.control("planfix", "set_filter_owner", filter_id=one.filter_id, owner=one.employee)
    site.control("planfix", "set_employee_status", employee=one.employee, status="Active")
    site.control("planfix", "set_plan", plan="paid")


@pytest.fixture(scope="module")
def used(site: Installation) -> str:
    """The link with which the first filter was activated."""
    one = site.filters[0]
    link = site.link(one.filter_id)
    assert follow(link, f"Continue as {one.email}").status == 200
    site.until(lambda: site.in_sync(one), "the first sync did not end")
    return link


def refused(site: Installation, one: Filter, link: str, status: int, *words: str, choice: str = "") -> None:
    """The link ends on a page with this status and these words, and the filter stays off."""
    page = follow(link, choice or f"Continue as {one.email}")
    assert page.status == status, page.text
    for word in words:
        assert word in page.text, page.text
    assert one.filter_id not in site.synchronised()


def test_no_link_is_given_for_a_filter_that_is_not_there_or_to_somebody_else(
    site: Installation, other: Filter
) -> None:
    missing = site.run("link", "999999")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "no such filter" in missing.stderr
    stranger = site.run("link", other.filter_id, "--user", str(site.filters[0].employee))
    assert (stranger.returncode, stranger.stdout) == (1, "")
    assert "somebody else's" in stranger.stderr


def test_a_filter_that_has_another_owner_by_now_is_refused(site: Installation, other: Filter) -> None:
    link = site.link(other.filter_id)
    site.control("planfix", "set_filter_owner", filter_id=other.filter_id, owner=site.filters[0].employee)
    refused(site, other, link, 403, "somebody else's")


def test_an_owner_who_has_left_is_refused(site: Installation, other: Filter) -> None:
    link = site.link(other.filter_id)
    site.control("planfix", "set_employee_status", employee=other.employee, status="Inactive")
    refused(site, other, link, 403, "active")


def test_an_unpaid_plan_is_refused(site: Installation, other: Filter) -> None:
    link = site.link(other.filter_id)
    site.control("planfix", "set_plan", plan="unpaid")
    refused(site, other, link, 402, "paid plan")


def test_an_unticked_contacts_box_is_refused_and_the_link_stays_good(site: Installation, other: Filter) -> None:
    link = site.link(other.filter_id)
    refused(site, other, link, 403, "contacts", choice=f"Continue as {other.email} without contacts")


def test_a_forged_and_an_expired_link_are_refused(site: Installation, other: Filter) -> None:
    link = site.link(other.filter_id)
    refused(site, other, link[:-4] + "AAAA", 404, "damaged")
    signer = Signer(Vault([KEY]), lambda: time.time() - LINK_VALID_S - 60)
    old, _ = signer.link(other.filter_id, other.employee, relink=False)
    refused(site, other, f"{site.gateway}activate/{old}", 410, "expired")


def test_a_link_is_good_for_one_activation(site: Installation, used: str) -> None:
    page = follow(used, f"Continue as {site.filters[0].email}")
    assert page.status == 410
    assert "used already" in page.text


def test_a_deleted_filter_is_refused(site: Installation, other: Filter) -> None:
    gone = site.control("planfix", "add_filter", name="Gone", owner=other.employee, condition={"kind": "all"})
    link = site.link(gone)
    site.control("planfix", "delete_filter", filter_id=gone)
    page = follow(link, f"Continue as {other.email}")
    assert page.status == 404
    assert "no such filter" in page.text


def test_a_dead_grant_is_reported_rests_and_resumes_after_a_new_activation(site: Installation, used: str) -> None:
    one = site.filters[0]
    began = time.monotonic()
    site.control("google", "revoke_grant", account=one.email)
    site.until(lambda: site.status(one.filter_id)["state"] == "reconnect_needed", "nobody noticed")
    assert time.monotonic() - began < 5
    assert site.status(one.filter_id)["reason"]
    number = site.members(one.filter_id)[0]
    site.control("google", "reset_counters")
    site.control("planfix", "edit_contact", contact=number, fields={"position": "Waiting"})
    for _ in range(3):  # longer than two polls
        assert site.run("status", one.filter_id).returncode == 0
    assert site.look("google", "counters")["requests"] == {}
    site.activate(one)
    site.until(lambda: site.in_sync(one), "it did not resume")
    site.until(lambda: site.title(one, number) == "Waiting", "what had waited did not come")
    site.until(lambda: site.converged(one), "the sides differ")
    said = [line for line in site.lines() if "reconnected" in line["event"]]
    assert len(said) == 1, said
