"""Stories in which the simulation once found something broken, as small as hypothesis could make them."""

from __future__ import annotations

from typing import Any

import pytest

from whole.steps import run_case

FOUND: dict[str, dict[str, Any]] = {
    "a filter without a label yet hears that its account is connected again": {
        "contacts": 1,
        "filters": 2,
        "settled": False,
        "steps": [["revoke"]],
    },
    "a person is adopted and deleted between two polls": {
        "contacts": 2,
        "filters": 1,
        "settled": False,
        "steps": [["wait", 0], ["delete_person", 0]],
    },
    "the writer is killed between the commit of a held mutation's outcome and its answer": {
        "contacts": 3,
        "filters": 1,
        "settled": False,
        "steps": [["kill", 15, 1, 2, 3], ["wait", 1]],
    },
    "one of a person's two labels is deleted while the google-watcher is away": {
        "contacts": 1,
        "filters": 2,
        "settled": True,
        "steps": [["kill", 1, 0, 0, 0], ["delete_label", 0]],
    },
    "a label taken off by hand comes back by an undo, although the writer remembers it there": {
        "contacts": 2,
        "filters": 1,
        "settled": True,
        "steps": [["unlabel", 8, 13], ["wait", 8], ["wait", 8], ["undo", 7]],
    },
    "a person is let go by an undo while an edit of it waits to be seen": {
        "contacts": 4,
        "filters": 1,
        "settled": True,
        "steps": [["google_set", 0, 1], ["undo", 0]],
    },
    "the same, and the index of people is made anew by a full listing": {
        "contacts": 1,
        "filters": 2,
        "settled": True,
        "steps": [["restart", 1], ["delete_label", 0], ["fault", 0, 0, 0, 0], ["expire", 1]],
    },
    "the label of the filter that merges the fields is taken off, and the person edited": {
        "contacts": 1,
        "filters": 2,
        "settled": True,
        "steps": [["unlabel", 0, 0], ["google_set", 0, 2]],
    },
    "the same with a field that is cleared": {
        "contacts": 1,
        "filters": 2,
        "settled": True,
        "steps": [["away", 0], ["lose", 0, 0, 0], ["unlabel", 1, 0], ["google_clear", 1, 1]],
    },
    "the label is taken off and put back, and the person edited before and after": {
        "contacts": 1,
        "filters": 2,
        "settled": True,
        "steps": [
            ["unlabel", 0, 0],
            ["google_set", 0, 2],
            ["wait", 5],
            ["relabel", 0, 0],
            ["google_set", 0, 0],
            ["wait", 5],
            ["google_set", 0, 3],
            ["planfix_set", 0, 1],
            ["unlabel", 0, 1],
            ["wait", 5],
            ["google_set", 0, 2],
        ],
    },
    "one label of two is deleted, and the contact edited in Planfix": {
        "contacts": 1,
        "filters": 2,
        "settled": True,
        "steps": [["delete_label", 11], ["planfix_set", 4, 14]],
    },
    "a person of a contact in the bin is taken out of Google's Trash": {
        "contacts": 2,
        "filters": 1,
        "settled": True,
        "steps": [["trash", 0], ["wait", 5], ["undelete_person", 0]],
    },
    "what is known of the label is lost, which a human deletes": {
        "contacts": 1,
        "filters": 1,
        "settled": True,
        "steps": [["delete_label", 0], ["forget", 3]],
    },
    "all that the writer knows is lost, and two people are merged": {
        "contacts": 3,
        "filters": 1,
        "settled": True,
        "steps": [["forget", 4], ["merge_people", 0, 8]],
    },
    "the first sync is rolled back to its beginning": {
        "contacts": 1,
        "filters": 1,
        "settled": False,
        "steps": [["wait", 0], ["save"], ["roll_back"]],
    },
    "Google renames a person twice, and its second label is made again": {
        "contacts": 1,
        "filters": 2,
        "settled": True,
        "steps": [["rename_resource", 0], ["delete_label", 1], ["rename_resource", 0]],
    },
    "one filter looks a person up that has lost the other one's label": {
        "contacts": 1,
        "filters": 2,
        "settled": True,
        "steps": [["delete_label", 1], ["replay", 15]],
    },
    "the links are lost, and the contact of one is in the bin": {
        "contacts": 1,
        "filters": 1,
        "settled": True,
        "steps": [["trash", 0], ["forget", 0], ["new_contact", 1]],
    },
    "people are merged and the links are lost": {
        "contacts": 2,
        "filters": 1,
        "settled": True,
        "steps": [["merge_people", 0, 1], ["forget", 0]],
    },
    "Google renames a merged person whose contact may not be edited in Planfix": {
        "contacts": 2,
        "filters": 2,
        "settled": True,
        "steps": [["merge_people", 0, 1], ["may_edit", 0, 0], ["rename_resource", 0]],
    },
    "a number that Planfix refuses and another field that a human edits there": {
        "contacts": 1,
        "filters": 2,
        "settled": True,
        "steps": [["google_phones", 0, 0], ["may_edit", 0, 0], ["planfix_set", 0, 1]],
    },
    "links are lost while their creates are answered, and the same mutation is asked for at once": {
        "contacts": 1,
        "filters": 1,
        "settled": False,
        "steps": [["wait", 0], ["forget", 0]],
    },
    "a delta brings two versions of one person: by its tombstone's name, and as it was when the list was made": {
        "contacts": 1,
        "filters": 1,
        "settled": True,
        "steps": [["wait", 0], ["wait", 0], ["wait", 0], ["rename_resource", 0], ["wait", 0], ["unlabel", 0, 0]],
    },
    "two filters that share a contact are paused in the same instant: the fields are handed over and back": {
        "contacts": 1,
        "filters": 2,
        "settled": True,
        "steps": [
            ["away", 0],
            ["away", 0],
            ["away", 0],
            ["away", 0],
            ["pause", 0],
            ["planfix_phones", 0, 0],
            ["pause", 1],
        ],
    },
    "who holds both e-mails of a merged person leaves: the other filter knows why Planfix has only one": {
        "contacts": 2,
        "filters": 2,
        "settled": True,
        "steps": [["flip", 0], ["merge_people", 0, 1]],
        "quirks": [],
    },
    "who is who is forgotten a minute after a person was made, and the create comes again": {
        "contacts": 3,
        "filters": 1,
        "settled": False,
        "steps": [["wait", 0], ["away", 0], ["away", 0], ["forget", 2]],
    },
    "a contact into whose person another one's was merged is not taken by Planfix": {
        "contacts": 3,
        "filters": 1,
        "settled": False,
        "steps": [["away", 0], ["trash", 0], ["may_edit", 0, 0], ["wait", 1], ["merge_people", 0, 1]],
    },
    "links are forgotten, and the people of two of them merged: one stamp is left": {
        "contacts": 2,
        "filters": 1,
        "settled": True,
        "steps": [["away", 0], ["away", 0], ["forget", 0], ["merge_people", 1, 0]],
    },
    "one filter deletes a person in the moment in which another one that was paused puts its label on": {
        "contacts": 1,
        "filters": 2,
        "settled": False,
        "steps": [["pause", 1], ["wait", 0], ["leave", 0, 0]],
    },
    "links are forgotten, and a person's name in Google changes twice": {
        "contacts": 1,
        "filters": 1,
        "settled": True,
        "steps": [["forget", 0], ["planfix_clear", 0, 0], ["rename_resource", 0], ["rename_resource", 0]],
    },
    "three people are merged into the one of a contact that is then trashed": {
        "contacts": 5,
        "filters": 2,
        "settled": True,
        "steps": [
            ["away", 0],
            ["away", 0],
            ["merge_people", 0, 1],
            ["kill", 0, 0, 0, 0],
            ["trash", 8],
            ["away", 0],
            ["enter", 0, 0],
            ["fault", 0, 0, 0, 0],
            ["fault", 0, 0, 0, 0],
            ["merge_people", 2, 0],
        ],
        "quirks": [],
    },
    "a person is edited while the record of its label is lost": {
        "contacts": 1,
        "filters": 1,
        "settled": False,
        "steps": [
            ["away", 0],
            ["away", 0],
            ["wait", 1],
            ["short", 0, 0, 0],
            ["forget", 3],
            ["google_set", 0, 0],
            ["away", 0],
            ["away", 0],
            ["new_contact", 1],
        ],
        "quirks": [],
    },
    "a label that we have just put on is taken off a person that was merged into": {
        "contacts": 2,
        "filters": 2,
        "settled": False,
        "steps": [["wait", 1], ["merge_people", 0, 1], ["unlabel", 0, 0], ["unlabel", 0, 1]],
        "quirks": [],
    },
    "a label is taken off after the links were lost, and another filter has to merge": {
        "contacts": 1,
        "filters": 2,
        "settled": True,
        "steps": [["forget", 0], ["planfix_phones", 0, 0], ["unlabel", 0, 0]],
        "quirks": [],
    },
    "links are lost while a create waits, and its number is given to another one": {
        "contacts": 1,
        "filters": 1,
        "settled": False,
        "steps": [["wait", 0], ["planfix_clear", 0, 1], ["kill", 0, 0, 0, 0], ["forget", 0]],
        "quirks": [],
    },
    "state is restored from before an activation whose label is still to be made": {
        "contacts": 1,
        "filters": 1,
        "settled": True,
        "steps": [
            ["away", 0],
            ["away", 0],
            ["away", 0],
            ["delete_label", 0],
            ["save"],
            ["forget", 1],
            ["revoke"],
            ["roll_back"],
            ["away", 2],
        ],
        "quirks": [],
    },
    "a name is cleared in Planfix by somebody else, the right to edit is lost, and the links are forgotten": {
        "contacts": 3,
        "filters": 1,
        "settled": True,
        "steps": [["away", 0], ["planfix_clear", 8, 1], ["may_edit", 14, 0], ["forget", 0]],
    },
}


@pytest.mark.parametrize("case", FOUND.values(), ids=FOUND)
def test_what_was_found_stays_mended(case: dict[str, Any]) -> None:
    run_case(**case)
