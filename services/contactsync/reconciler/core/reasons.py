"""Why a contact or a filter is not in sync, in sentences for people who never heard of an API, and what they can do.

Every state but `in_sync` has its sentence here; `describe.py` shows them. What a vendor refuses comes with the
vendor's own words. Some are compared with what is stored on a link: a changed wording counts as another reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

POSSIBLE_DUPLICATE: Final = "possible_duplicate"

# --- pending: something is under way, or the filter as a whole waits ------------------------------------------

WRITING = "It is being written."
LOOKING = "It is being compared."
FROZEN = "What would be done with it waits for your approval."
WAITING = "Its turn comes when the filter goes on; the filter says what it waits for."

# --- possible duplicates: a human decides (`decide`) ---------------------------------------------------------

MANY_PEOPLE = "More than one person in Google Contacts could be this contact. Say which one it is, or that it is new."
SHARED = (
    "The person in Google Contacts that could be this contact could also be another contact of this list. Say which "
    "of them it is, or that this one is new."
)
TAKEN_PERSON = (
    "The person in Google Contacts that could be this contact already stands for another contact of this list. Unite "
    "the two contacts in Planfix if they are one, or say that this one is new."
)
MANY_CONTACTS = "More than one contact in Planfix could be this person. Say which one it is, or that it is new."
RIVALS = (
    "Another person under the label could be the same contact in Planfix. Unite the two people in Google Contacts if "
    "they are one, or say who this one is."
)
TAKEN_CONTACT = (
    "The matching contact in Planfix is already linked to another person in this account. Unite the two people in "
    "Google Contacts if they are one, or say that this one is new."
)
COPY = (
    "Another person in Google Contacts already stands for its contact: this seems to be a copy. Delete one of the "
    "two, unite them, or say that this one is new."
)

# --- held back: something has to change first ----------------------------------------------------------------

ACCOUNT_FULL = (
    "The Google account is full: Google takes 25,000 contacts, private ones included, and the last 100 places are "
    "left to you. Places go to the lowest contact numbers. Delete contacts in Google that you do not need and empty "
    "its Trash, or take contacts out of the list: this one follows when there is a place for it."
)
CHECKING = "Planfix did not answer with this contact; it is being looked up."
REVERSE_OFF = "Reverse sync is off, so it is not created in Planfix."
CONTACT_GONE = "Its contact is not in Planfix any more, or you cannot see it."
NAMED_GONE = "The contact that was named for it is not in Planfix, or you cannot see it. Decide again."
NAMELESS = "It has no name, and Planfix needs one. Give it a name in Google Contacts."
INVISIBLE = (
    "It cannot be created: Planfix has a contact with this e-mail or phone that you cannot see. Ask whoever manages "
    "Planfix to share it with you."
)
EMPTY_LIST = "Planfix answered with an empty list; nothing was removed."

# --- quarantined: the other side refuses ---------------------------------------------------------------------


def refused(side: str, words: str) -> str:
    """`side` does not take a contact; `words`: its own, or nothing."""
    who = "Google Contacts" if side == "google" else "Planfix"
    said = f": {words.strip().rstrip('.')}" if words.strip() else ""
    return f"{who} does not take this contact{said}. Change it on either side, or synchronise again to try once more."


# --- dismissed, merged ----------------------------------------------------------------------------------------

DELETED = "The person was deleted in Google Contacts. Restore brings it back."
UNLABELLED = "The label was taken off this person in Google Contacts. Put it back there, or restore it here."

# --- in sync, with a difference on purpose --------------------------------------------------------------------

READ_ONLY = "You may not edit this contact in Planfix, so changes made in Google do not reach it."
STAYS_IN_GOOGLE = "It stands in Google alone, since you may not edit this contact in Planfix."
NOT_IN_FILTER = "It carries the label, but Planfix does not count it to this list."
BY_HAND = "It was put under the label by hand."

# --- the filter as a whole ------------------------------------------------------------------------------------

PAUSED = "It was paused by hand. Resume to go on."
LABEL_DELETED = (
    "The label was deleted in Google Contacts. Resume makes it again, with everybody under it; or stop here."
)
LABEL_REFUSED = "Google Contacts does not take the label."
OTHER_OWNER = "The list has another owner in Planfix now."


_PROBLEMS: Final[dict[str, tuple[str, str]]] = {
    "plan_needed": (
        "Planfix does not serve this account any more",
        "Nothing was removed. Settle it with Planfix, and it goes on by itself.",
    ),
    "filter_gone": (
        "The list was deleted in Planfix, or is not shared any more",
        "Nothing was removed. Share it again to go on, or disconnect it.",
    ),
    "owner_gone": (
        "The list's owner is no longer active in Planfix",
        "Nothing was removed. Give the list another owner and activate it again, or disconnect it.",
    ),
    "reconnect_needed": (
        "The connection to Google Contacts has ended",
        "Connect it again with an activation link; everything goes on then.",
    ),
}


def problem(state: str, words: str) -> str:
    """Why a filter does not go on; `words`: what a service said about it, or nothing."""
    what, then = _PROBLEMS.get(state, ("It does not go on", "Ask whoever runs Contactsync."))
    said = f": {words.strip().rstrip('.')}" if words.strip() else ""
    return f"{what}{said}. {then}"


def merged_into(contact: int) -> str:
    return f"It was merged into contact {contact} in Google Contacts. Nothing was deleted in Planfix."


def lost_most(number: int) -> str:
    return (
        f"{number} people lost the label or were deleted in Google Contacts at once. Resume brings them back under "
        "it; or stop here."
    )


# --- why a command is refused ---------------------------------------------------------------------------------


def not_here(contact: int) -> str:
    return f"Contact {contact} is not one of this list's."


def merged_away(contact: int, survivor: int) -> str:
    return (
        f"Contact {contact} was merged into contact {survivor} in Google Contacts. If that was a mistake, undo the "
        "merge there."
    )


def no_duplicate(name: int | str) -> str:
    return f"{name} is no possible duplicate: there is nothing to decide."


def person_taken(resource: str, contact: int) -> str:
    return f"{resource} already stands for contact {contact}, and one person cannot be two contacts."


def contact_taken(contact: int, resource: str) -> str:
    return f"Contact {contact} is already linked to {resource}, and one contact cannot be two people."


def candidates_are(names: Sequence[str]) -> str:
    return f"Say which one: {', '.join(names)}."


# --- many at once, or another tool: what waits in a plan (by its kind), and what freezes the filter ------------

WAITS: Final[Mapping[str, str]] = {
    "remove": "It would be removed from Google with many others; that waits for your approval.",
    "update": "It would be rewritten with many others; that waits for your approval.",
    "create": "It would be created in Planfix with many others; that waits for your approval.",
    "empty": "The list came back empty from Planfix; whether it is to leave Google waits for your approval.",
    "first": "The first sync waits for your approval.",
    "again": "It may have been removed by hand earlier; creating it in Google waits for your approval.",
}
FLIPS: Final = (
    "A contact went back and forth between the same values three times today: another tool seems to be syncing the "
    "same contacts. Switch that off, then resume."
)
COPIES: Final = (
    "The same contacts were created again and again today: another tool seems to be copying them. Switch that off, "
    "remove the copies, then resume."
)
