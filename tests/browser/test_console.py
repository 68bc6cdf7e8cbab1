"""The console in a real browser: Debian's Chromium driven by Playwright, against `contactsync up` and simulators.

One story as an employee lives it, in several acts. Skipped, loudly, where there is no Chromium or no Playwright. With
`CONTACTSYNC_SCREENSHOTS=folder` every page is photographed, light, dark, and on a phone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.installation import Filter, Installation, installed

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOKEN = "operators-own-token"
CONTACTS = 60

if CHROMIUM is None:
    pytest.skip(
        "SKIPPED: no Chromium (Debian: apt-get install chromium), the console was not tried", allow_module_level=True
    )
playwright = pytest.importorskip(
    "playwright.sync_api", reason="SKIPPED: no Playwright (pip install playwright), the console was not tried"
)
expect = playwright.expect


class Camera:
    """Photographs a page, where a folder is named."""

    def __init__(self) -> None:
        named = os.environ.get("CONTACTSYNC_SCREENSHOTS")
        self.folder = Path(named) if named else None

    def take(self, page: Any, name: str) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=self.folder / f"{name}.png", full_page=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    settings = {"ADMIN_TOKEN": TOKEN, "BREAKER_REMOVE": "3,1"}
    with installed(tmp_path_factory.mktemp("console"), contacts=CONTACTS, settings=settings) as one:
        one.start_up()
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as found:
        chromium = found.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that fails the test when a script, a style or a policy goes wrong in it."""
    context = browser.new_context(locale="en-GB", viewport={"width": 1100, "height": 800})
    context.set_default_timeout(20_000)
    made = context.new_page()
    wrong: list[str] = []
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    yield made
    context.close()
    # A page that is not there, or not to be seen, is an error to Chromium's console, too.
    assert [text for text in wrong if "Failed to load resource" not in text] == []


def sign_in(page: Any, site: Installation, one: Filter) -> None:
    page.goto(site.gateway)
    page.get_by_role("link", name="Sign in with Google").click()
    page.get_by_role("link", name=f"Continue as {one.email}", exact=True).click()
    expect(page.get_by_role("heading", name="My filters")).to_be_visible()


def unlabelled(page: Any) -> list[str]:
    """Controls without a name, images without a text, headings out of order, ids that are there twice."""
    found: list[str] = page.evaluate(
        """() => {
        const wrong = [];
        for (const one of document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a")) {
            const named = one.getAttribute("aria-label") || one.textContent.trim()
                || (one.labels && [...one.labels].some((label) => label.textContent.trim()));
            if (!named) wrong.push("no name: " + one.outerHTML.slice(0, 120));
        }
        for (const one of document.querySelectorAll("img:not([alt])")) wrong.push("no alt: " + one.src);
        if (!document.documentElement.lang) wrong.push("no language");
        if (document.querySelectorAll("main").length !== 1) wrong.push("not one main");
        if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
        const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
        for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push("twice: " + id);
        for (const th of document.querySelectorAll("th:not([scope])")) wrong.push("th without scope");
        if (document.documentElement.scrollWidth > document.documentElement.clientWidth)
            wrong.push("wider than the window: " + document.documentElement.scrollWidth);
        return wrong;
    }"""
    )
    return found


def looked_at(page: Any, camera: Camera, name: str) -> None:
    """A page that is shown well: readable by a screen reader, on a phone, in the dark."""
    assert unlabelled(page) == [], name
    camera.take(page, name)
    page.emulate_media(color_scheme="dark")
    camera.take(page, f"{name}-dark")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 390, "height": 800})
    assert unlabelled(page) == [], f"{name} on a phone"
    camera.take(page, f"{name}-phone")
    page.set_viewport_size({"width": 1100, "height": 800})


def test_an_employees_story(site: Installation, page: Any) -> None:
    camera, one = Camera(), site.filters[0]
    page.goto(site.gateway)
    looked_at(page, camera, "login")

    # Signing in and switching on.
    sign_in(page, site, one)
    looked_at(page, camera, "filters-before")
    page.get_by_role("button", name="Switch on").click()
    page.get_by_role("link", name=f"Continue as {one.email}", exact=True).click()
    expect(page.get_by_text("Synchronisation is switched on.")).to_be_visible()

    # The page follows the first sync by itself.
    news = page.locator("#news")
    expect(news).to_contain_text(re.compile(rf"{CONTACTS}\s+in sync"), timeout=60_000)
    expect(news).to_contain_text("done", timeout=60_000)
    looked_at(page, camera, "filter")

    # An edit on each side.
    number = next(each for each in site.members(one.filter_id) if site.contact(each)["lastname"])
    site.edit_title(one, number, "Chief of everything")
    site.control("planfix", "edit_contact", contact=number, fields={"description": "Likes tea."})
    site.until(lambda: site.contact(number).get("position") == "Chief of everything", "the edit did not arrive")
    page.get_by_role("link", name="Contacts and history").click()
    expect(page.get_by_role("row")).to_have_count(51)
    looked_at(page, camera, "contacts")
    family = str(site.contact(number)["lastname"])
    page.get_by_label("Name, e-mail, phone or number").fill(family)
    page.get_by_role("button", name="Search").click()
    assert family not in page.url
    page.locator("tbody").get_by_role("link", name=re.compile(re.escape(family))).first.click()
    expect(page.get_by_role("heading", name="Values on both sides")).to_be_visible()
    expect(page.get_by_text("Chief of everything").first).to_be_visible()
    looked_at(page, camera, "contact")

    # Taking the edit back.
    entry = page.locator(".history .card", has_text="Chief of everything").first
    entry.get_by_role("button", name="Undo", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("taken back")
    site.until(lambda: site.contact(number).get("position") != "Chief of everything", "the undo did not arrive")

    # Too many at once leave the filter: the plan waits, and is approved.
    page.goto(f"{site.gateway}filters/{one.filter_id}")
    leaving = site.members(one.filter_id)[:8]
    for contact in leaving:
        site.control("planfix", "remove_from_filter", filter_id=one.filter_id, contact=contact)
    page.get_by_role("button", name="Synchronise now").click()
    expect(news).to_contain_text("waits for approval", timeout=60_000)
    page.reload()
    page.get_by_role("link", name="Review and approve").click()
    expect(page.get_by_role("heading", name="Waiting for approval")).to_be_visible()
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    looked_at(page, camera, "plan")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("status")).to_contain_text("Approved")
    site.until(lambda: len(site.people(one.email)) == CONTACTS - len(leaving), "the plan was not carried out")

    # The switch, and the pause.
    page.get_by_text("Settings", exact=True).click()
    page.get_by_label("Automatic reverse synchronisation").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("saved")
    assert json.loads(site.run("status", one.filter_id, "--json").stdout)["two_way"] is False
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Go on")).to_be_visible()
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()

    # And away.
    page.get_by_role("link", name="Disconnect").click()
    page.get_by_label(re.compile("Remove the contacts")).check()
    looked_at(page, camera, "disconnect")
    page.get_by_role("button", name="Disconnect").click()
    expect(page.get_by_role("status")).to_contain_text("isconnected")
    site.until(lambda: site.run("status", one.filter_id).returncode == 1, "the filter was not disconnected")
    assert site.people(one.email) == {}


def test_the_operators_page(site: Installation, page: Any) -> None:
    camera = Camera()
    page.goto(f"{site.gateway}login")
    page.get_by_label("Operator's token").fill(TOKEN)
    page.get_by_role("button", name="Sign in as operator").click()
    page.get_by_role("link", name="System").click()
    for service in ("planfix-watcher", "google-watcher", "reconciler", "writer"):
        expect(page.get_by_role("rowheader", name=service)).to_be_visible()
    expect(page.get_by_text("64 / 64").first).to_be_visible()
    looked_at(page, camera, "system")


def test_the_keyboard_is_enough_to_sign_in(site: Installation, page: Any) -> None:
    page.goto(f"{site.gateway}login")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.get_by_label("Operator's token").focus()
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="All filters")).to_be_visible()
    page.get_by_role("button", name="Sign out").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_russian_browser_gets_russian_pages(site: Installation, browser: Any) -> None:
    context = browser.new_context(locale="ru-RU")
    page = context.new_page()
    page.goto(f"{site.gateway}login")
    expect(page.get_by_role("heading", name="Войти")).to_be_visible()
    Camera().take(page, "login-ru")
    context.close()
