"""Activation: from a signed link over Google's page to an enabled filter, and everything in between that may fail."""

from __future__ import annotations

import orjson
import pytest

from contactsync_contracts.messages import Enable
from contactsync_contracts.subjects import grant_key
from gateway_world import OTHER_EMAIL, OWNER_EMAIL, SECRET_KEY, Browser, World, choice, status, world


async def test_the_owner_activates_the_filter_and_lands_on_its_page() -> None:
    async with world() as here, here.browser() as browser:
        page = await browser.activate(await here.link())
        assert page.status == 200
        assert page.url.path == f"/filters/{here.filter_id}"
        assert "Synchronisation is switched on" in page.text
        (sent,) = here.sent()
        command = Enable.model_validate(sent)
        assert (command.filter_id, command.filter_name, command.owner) == (here.filter_id, "Clients", here.owner)
        assert (command.account, command.google_email, command.relink) == ("1001", OWNER_EMAIL, False)


async def test_the_command_has_the_links_id_so_that_it_happens_once() -> None:
    async with world() as here, here.browser() as browser:
        await browser.activate(await here.link())
        (stored,) = here.server.streams["FILTERS"].messages.values()
        command = Enable.model_validate_json(stored.data)
        assert stored.headers["Nats-Msg-Id"] == f"{here.filter_id}.command.{command.request_id}"
        assert stored.headers["Contactsync-Type"] == "Enable.v1"


async def test_the_grant_is_kept_encrypted() -> None:
    async with world() as here, here.browser() as browser:
        await browser.activate(await here.link())
        record = await here.bus.get(grant_key("1001"))
        assert record is not None
        kept = orjson.loads(record.value)
        assert kept["refresh_token"]
        assert "1//0" not in record.value.decode()
        assert "ya29." not in record.value.decode()


async def test_opening_a_link_leads_to_google_and_uses_nothing_up() -> None:
    async with world() as here, here.browser() as scanner, here.browser() as browser:
        link = await here.link()
        for _ in range(3):
            answer = await scanner.get(link)
            assert answer.status == 302
            assert answer.headers["Location"].startswith(here.settings.google_auth_url)
        assert here.sent() == []
        assert (await browser.activate(link)).status == 200


async def test_a_used_link_is_gone() -> None:
    async with world() as here, here.browser() as browser:
        link = await here.link()
        await browser.activate(link)
        again = await browser.get(link)
        assert again.status == 410
        assert "used already" in again.text


async def test_two_windows_with_one_link_activate_once() -> None:
    async with world() as here, here.browser() as browser:
        link = await here.link()
        first, second = await browser.chooser(link), await browser.chooser(link)
        words = f"Continue as {OWNER_EMAIL}"
        assert (await browser.get(choice(first, words), follow=True)).status == 200
        assert (await browser.get(choice(second, words), follow=True)).status == 410
        assert len(here.sent()) == 1


async def test_a_link_expires_after_seven_days() -> None:
    async with world() as here, here.browser() as browser:
        link = await here.link()
        here.clock.now_s += 7 * 86_400 - 1
        assert (await browser.get(link)).status == 302
        here.clock.now_s += 2
        late = await browser.get(link)
        assert late.status == 410
        assert "expired" in late.text


@pytest.mark.parametrize("change", ["flip", "cut", "foreign"])
async def test_a_forged_link_is_refused(change: str) -> None:
    async with world() as here, here.browser() as browser:
        link = await here.link()
        forged = {
            "flip": link[:-3] + ("AAA" if link[-3:] != "AAA" else "BBB"),
            "cut": link[:-10],
            "foreign": f"{here.root}activate/eyJmIjoiMSJ9.aaaa.bbbb",
        }[change]
        answer = await browser.get(forged)
        assert answer.status == 404
        assert "damaged" in answer.text


async def test_a_session_does_not_pass_for_a_link() -> None:
    async with world() as here, here.browser() as browser:
        await browser.activate(await here.link())
        cookies = {cookie.key: cookie.value for cookie in browser.session.cookie_jar}
        answer = await browser.get(f"{here.root}activate/{cookies['contactsync_signed_in']}")
        assert answer.status == 404


async def test_a_link_for_somebody_elses_filter_is_refused() -> None:
    async with world() as here, here.browser() as browser:
        answer = await browser.get(here.signed(here.filter_id, here.stranger))
        assert answer.status == 403
        assert "somebody else" in answer.text
        assert (await here.link_refusal(user=here.stranger)).code == 403


async def test_the_owner_of_the_moment_counts_not_the_one_when_the_link_was_made() -> None:
    async with world() as here, here.browser() as browser:
        link = await here.link()
        here.planfix.set_filter_owner(here.filter_id, here.stranger)
        assert (await browser.get(link)).status == 403


async def test_a_filter_that_is_gone_is_named_as_such() -> None:
    async with world() as here, here.browser() as browser:
        link = await here.link()
        here.planfix.delete_filter(here.filter_id)
        answer = await browser.get(link)
        assert answer.status == 404
        assert "no such filter" in answer.text
        assert (await here.link_refusal()).code == 404


async def test_planfixs_own_lists_cannot_be_activated() -> None:
    async with world() as here:
        assert (await here.link_refusal(filter_id=":contact")).code in (403, 404)


async def test_an_owner_who_left_cannot_activate() -> None:
    async with world() as here, here.browser() as browser:
        link = await here.link()
        here.planfix.set_employee_status(here.owner, "Inactive")
        assert (await browser.get(link)).status == 403
        assert (await here.link_refusal()).code == 403


async def test_an_unpaid_plan_is_a_clear_page_and_the_link_stays_good() -> None:
    async with world() as here, here.browser() as browser:
        link = await here.link()
        here.planfix.set_plan("unpaid")
        answer = await browser.get(link)
        assert answer.status == 402
        assert "plan" in answer.text
        here.planfix.set_plan("paid")
        assert (await browser.activate(link)).status == 200


async def test_without_planfix_the_page_says_what_to_do() -> None:
    async with world(planfix_url="http://127.0.0.1:9/rest/") as here, here.browser() as browser:
        answer = await browser.get(here.signed(here.filter_id, here.owner))
        assert answer.status == 503
        assert "Try again" in answer.text
        assert (await here.link_refusal()).code == 503


async def test_a_wrong_planfix_token_is_the_administrators_business() -> None:
    async with world(planfix_token="wrong") as here, here.browser() as browser:
        answer = await browser.get(here.signed(here.filter_id, here.owner))
        assert answer.status == 503
        assert "administrator" in answer.text


async def test_whoever_declines_on_googles_page_may_try_again() -> None:
    async with world() as here, here.browser() as browser:
        link = await here.link()
        page = await browser.chooser(link)
        declined = await browser.get(choice(page, "Cancel"), follow=True)
        assert declined.status == 403
        assert "did not allow" in declined.text
        again = await browser.get(choice(declined, "Try again"), follow=True)
        assert (await browser.get(choice(again, f"Continue as {OWNER_EMAIL}"), follow=True)).status == 200


async def test_an_unticked_contacts_box_is_explained_and_connects_nothing() -> None:
    async with world() as here, here.browser() as browser:
        link = await here.link()
        page = await browser.activate(link, words=" without contacts")
        assert page.status == 403
        assert "ticked" in page.text
        assert here.sent() == []
        assert await here.bus.get(grant_key("1001")) is None
        assert (await browser.activate(link)).status == 200


NEW_KEY = "a-new-key-a-new-key-a-new-key-a-new-key"


async def callback_address(here: World, browser: Browser) -> str:
    """Where Google sends the browser, not yet followed."""
    page = await browser.chooser(await here.link())
    answer = await browser.get(choice(page, f"Continue as {OWNER_EMAIL}"))
    return str(answer.headers["Location"])


async def test_a_callback_in_another_browser_is_refused() -> None:
    async with world() as here, here.browser() as browser, here.browser() as thief:
        address = await callback_address(here, browser)
        stolen = await thief.get(address)
        assert stolen.status == 400
        assert "another browser" in stolen.text
        assert here.sent() == []
        assert (await browser.get(address)).status == 303


async def test_a_callback_counts_once() -> None:
    async with world() as here, here.browser() as browser:
        address = await callback_address(here, browser)
        assert (await browser.get(address)).status == 303
        assert (await browser.get(address)).status in (400, 410)
        assert len(here.sent()) == 1


async def test_a_forged_state_is_refused() -> None:
    async with world() as here, here.browser() as browser:
        await browser.get(await here.link())
        answer = await browser.get(f"{here.root}oauth/google/callback?state=forged&code=4/0abc")
        assert answer.status == 400


async def test_a_sign_in_that_takes_too_long_is_over() -> None:
    async with world() as here, here.browser() as browser:
        address = await callback_address(here, browser)
        here.clock.now_s += 15 * 60 + 1
        assert (await browser.get(address)).status == 400
        assert here.sent() == []


async def test_a_foreign_code_is_refused_since_its_challenge_is_another() -> None:
    async with world() as here, here.browser() as browser, here.browser() as other:
        address = await callback_address(here, browser)
        foreign = await callback_address(here, other)
        code = foreign.partition("code=")[2].partition("&")[0]
        mine = address.partition("code=")[2].partition("&")[0]
        answer = await browser.get(address.replace(mine, code))
        assert answer.status == 400
        assert here.sent() == []


async def test_only_allowed_domains_may_connect() -> None:
    async with world(google_allowed_domains="other.example") as here, here.browser() as browser:
        page = await browser.activate(await here.link())
        assert page.status == 403
        assert "other.example" in page.text
        assert await here.bus.get(grant_key("1001")) is None


async def test_an_account_of_another_employee_is_refused() -> None:
    async with world() as here, here.browser() as browser, here.browser() as second:
        await browser.activate(await here.link())
        theirs = here.planfix.add_filter("Partners", here.stranger, {"kind": "all"})
        refused = await second.activate(await here.link(filter_id=theirs), OWNER_EMAIL)
        assert refused.status == 409
        assert "Another employee" in refused.text
        assert len(here.sent()) == 1
        assert (await second.activate(await here.link(filter_id=theirs), OTHER_EMAIL)).status == 200


async def test_the_operator_may_allow_an_account_of_another_employee() -> None:
    async with world() as here, here.browser() as browser, here.browser() as second:
        await browser.activate(await here.link())
        theirs = here.planfix.add_filter("Partners", here.stranger, {"kind": "all"})
        allowed = await second.activate(await here.link(filter_id=theirs, shared=True), OWNER_EMAIL)
        assert allowed.status == 200
        assert [one["account"] for one in here.sent()] == ["1001", "1001"]
        refused = await second.activate(await here.link(filter_id=theirs), OWNER_EMAIL)
        assert refused.status == 409  # it was allowed once, and stays the first one's


async def test_a_link_of_an_older_release_allows_no_account_of_another_employee() -> None:
    async with world() as here:
        text, _ = here.gateway._signer.link(here.filter_id, here.owner, relink=True)
        assert here.gateway._signer.read_link(text).shared is False


@pytest.mark.parametrize("relink", [False, True])
async def test_a_filter_that_is_being_disconnected_is_moved_to_no_other_account_yet(relink: bool) -> None:
    async with world() as here, here.browser() as browser:
        await browser.activate(await here.link())
        here.statuses[here.filter_id] = {**status(here, OWNER_EMAIL), "account": "1001", "state": "disconnecting"}
        refused = await browser.activate(await here.link(relink=relink), OTHER_EMAIL)
        assert refused.status == 409
        assert "being disconnected" in refused.text
        assert (await browser.activate(await here.link(), OWNER_EMAIL)).status == 200


async def test_one_employee_may_connect_many_filters_with_one_account() -> None:
    async with world() as here, here.browser() as browser:
        second = here.planfix.add_filter("Partners", here.owner, {"kind": "all"})
        await browser.activate(await here.link())
        assert (await browser.activate(await here.link(filter_id=second))).status == 200
        assert [one["filter_id"] for one in here.sent()] == [here.filter_id, second]


async def test_reconnecting_with_another_account_needs_a_relinking_link() -> None:
    async with world() as here, here.browser() as browser:
        await browser.activate(await here.link())
        here.statuses[here.filter_id] = status(here, OWNER_EMAIL)
        refused = await browser.activate(await here.link(), OTHER_EMAIL)
        assert refused.status == 409
        assert "re-linking" in refused.text
        assert (await browser.activate(await here.link(relink=True), OTHER_EMAIL)).status == 200
        assert here.sent()[-1]["relink"] is True
        assert here.sent()[-1]["account"] == "1002"


async def test_reconnecting_with_the_same_account_needs_nothing_special() -> None:
    async with world() as here, here.browser() as browser:
        await browser.activate(await here.link())
        here.statuses[here.filter_id] = status(here, OWNER_EMAIL)
        assert (await browser.activate(await here.link())).status == 200
        assert len(here.sent()) == 2


async def test_a_rotated_secret_key_still_opens_older_links() -> None:
    async with world() as here:
        link = await here.link()
    async with world(secret_keys=f"{NEW_KEY},{SECRET_KEY}") as later, later.browser() as browser:
        answer = await browser.get(later.root + link.split("/", 3)[3])
        assert answer.status == 302
