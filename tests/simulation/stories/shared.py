"""What several stories have in common."""

from __future__ import annotations

from whole import World
from whole.vendors import Write
from whole.world import Office


def creates(writes: list[Write]) -> list[Write]:
    """What makes people, labels or Planfix contacts."""
    return [
        one
        for one in writes
        if is_of_people(one)
        or (one.method == "POST" and one.path in ("/v1/contactGroups", "/rest/contact/", "/rest/contact/import"))
    ]


def is_of_people(write: Write) -> bool:
    """Makes people."""
    return "createcontact" in write.path.lower()


WAYS = {True: "two-way", False: "one-way"}


LOSSES: dict[str, tuple[str, ...]] = {
    "everything": ("",),
    "what the filter knows": ("state.filter.",),
    "its links": ("state.filter.{f}.link.",),
    "half of its links": ("state.filter.{f}.link.1", "state.filter.{f}.link.3", "state.filter.{f}.link.5"),
    "what the account knows": ("state.account.",),
    "who is who in the account": ("state.account.101.person.",),
    "how far Google was read": ("state.account.101.cursor",),
    "what is known of Planfix": ("state.planfix.",),
    "the history and the quotas": ("history.", "quota."),
}


def lose(world: World, office: Office, what: str) -> None:
    world.stop()
    assert world.lose_state(*(prefix.format(f=office.filter_id) for prefix in LOSSES[what] if prefix))


def edit_both_sides(world: World, office: Office) -> None:
    """One edit on each side."""
    email = office.account.email
    ann, bob, *_ = office.contacts
    world.hands.edit_planfix(email, ann, "notes", "from Planfix")
    world.hands.edit_google(email, world.person(bob, office.account), "notes", "from Google", bob)


def assert_both_arrived(world: World, office: Office) -> None:
    email = office.account.email
    for contact, text in zip(office.contacts[:2], ("from Planfix", "from Google"), strict=True):
        assert (world.hands.in_planfix(contact) or {})["notes"] == text
        assert (world.hands.in_google(email, world.person(contact, office.account)) or {})["notes"] == text
