"""What the services say to each other: every message on NATS, version 1.

Messages are frozen and readers ignore unknown fields: a new optional field is free, anything else is a ``.v2``
beside the ``.v1``. Times are Unix seconds (UTC). Observations say what was seen and when, never what to do;
replaying or reordering them changes nothing. The type of a message travels in the header ``Contactsync-Type``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from contactsync_contracts.contact import Contact

CONTACTS_MAX = 200
"""Contacts in one message."""
BYTES_MAX = 512 * 1024
"""Size of one message."""
PEOPLE_MAX = 25_000 - 100
"""Google takes 25,000 people an account, private ones and perhaps those in its Trash included; 100 places are left to
the human (2-semantics 2.4)."""


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


FilterToken = Annotated[str, Field(min_length=1, max_length=200)]
ContactNumber = Annotated[int, Field(ge=1)]


class Class(StrEnum):
    """Who waits for it: decides who gets a scarce request first."""

    HUMAN = "human"
    CHANGE = "change"
    BACKGROUND = "background"


class Kept(StrEnum):
    """Whether we made the person or found it."""

    OURS = "ours"
    ADOPTED = "adopted"


# --- sync and command -------------------------------------------------------------------------------------


class SyncRequest(Model):
    """Public: synchronise this filter now. ``request_id`` makes it once-only for good."""

    request_id: Annotated[str, Field(min_length=1, max_length=200)]
    filter_id: FilterToken
    reason: str = ""


class NewContactDefaults(Model):
    """What a contact created in Planfix gets, so that it falls into the filter and its owner sees it."""

    template: int | None = None
    group: int | None = None
    custom_fields: dict[str, str] = {}
    supervisor: str = "owner"


class Enable(Model):
    """Activation succeeded: synchronise this filter with this account's label."""

    command: Literal["enable"] = "enable"
    request_id: str
    filter_id: FilterToken
    filter_name: str
    owner: ContactNumber
    account: str
    google_email: str
    relink: bool = False


class Limit(Model):
    """How many actions of one kind a day are carried out without asking: the larger of `least` and `percent` of the
    filter's links (2-semantics 2.5)."""

    least: Annotated[int, Field(ge=0)]
    percent: Annotated[float, Field(ge=0, le=1000)]


class Breakers(Model):
    """remove: deletes and unlinks in Google; update: rewrites on either side after the first sync; create: contacts
    created in Planfix. Only those that are given change."""

    remove: Limit | None = None
    update: Limit | None = None
    create: Limit | None = None


class ChangeSettings(Model):
    """Only the settings that are given change. conflict: who wins where both sides changed a value."""

    command: Literal["settings"] = "settings"
    request_id: str
    filter_id: FilterToken
    two_way: bool | None = None
    new_contact: NewContactDefaults | None = None
    breakers: Breakers | None = None
    conflict: Literal["newest", "planfix", "google"] | None = None


class Pause(Model):
    command: Literal["pause"] = "pause"
    request_id: str
    filter_id: FilterToken


class Resume(Model):
    command: Literal["resume"] = "resume"
    request_id: str
    filter_id: FilterToken


class Approve(Model):
    """Carry out exactly the frozen plan with this hash, as far as its actions are still wanted."""

    command: Literal["approve"] = "approve"
    request_id: str
    filter_id: FilterToken
    hash: Annotated[str, Field(min_length=1, max_length=100)]


class Decide(Model):
    """Settle a possible duplicate, and remember it. ``contact`` names a Planfix contact, ``person`` a person of
    Google Contacts by its resource name. ``same``: they are one (both are named); ``separate``: it is none of its
    candidates; ``new``: likewise; with neither named: all that wait are new."""

    command: Literal["decide"] = "decide"
    request_id: str
    filter_id: FilterToken
    decision: Literal["same", "separate", "new"]
    contact: ContactNumber | None = None
    person: str | None = None


class Restore(Model):
    """End the dismissal of this contact, or of all: they come back to Google. A refused one is tried again."""

    command: Literal["restore"] = "restore"
    request_id: str
    filter_id: FilterToken
    contact: ContactNumber | None = None


class Rebuild(Model):
    """Find every link again by the stamps in Google, as after a loss of state."""

    command: Literal["rebuild"] = "rebuild"
    request_id: str
    filter_id: FilterToken


class Undo(Model):
    """Take back one entry of the history (``<contact>.<entry>``), or everything that a run did."""

    command: Literal["undo"] = "undo"
    request_id: str
    filter_id: FilterToken
    entry: str | None = None
    run: str | None = None


class Disconnect(Model):
    """Stop for good and forget the filter; ``remove_contacts``: people that we created leave Google first."""

    command: Literal["disconnect"] = "disconnect"
    request_id: str
    filter_id: FilterToken
    remove_contacts: bool = False


Command = Annotated[
    Enable | ChangeSettings | Pause | Resume | Approve | Decide | Restore | Rebuild | Undo | Disconnect,
    Field(discriminator="command"),
]


# --- looks: what an actor wants to see --------------------------------------------------------------------


class MatchQuery(Model):
    """Keyed hashes of one contact's e-mails and phones, and its number (for the stamp). ``source``: the source id of
    the person that it was created from."""

    contact: ContactNumber
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    source: str = ""


class LookGoogle(Model):
    """Ask the watcher of an account. The answer arrives in the filter's mailbox.

    ``listing``: everything of this filter in a complete listing that began after the request; ``changes``: whatever
    changed up to now, told before the answer `GoogleCaughtUp`; ``people``: these resource names; ``match``:
    candidates for these contacts, once the index is complete; ``label``: the label. ``new_label`` (``listing`` only):
    the filter holds nobody yet and its label was just made, so that an earlier listing and the changes since will do.
    """

    request_id: str
    filter_id: FilterToken
    account: str
    what: Literal["listing", "changes", "people", "match", "label"]
    new_label: bool = False
    resources: tuple[str, ...] = ()
    match: tuple[MatchQuery, ...] = ()
    label: str | None = None
    cls: Class = Class.CHANGE
    reason: str = ""


class PersonQuery(Model):
    """A person in Google that may already be a Planfix contact: its addresses in clear, read as its owner.
    ``contacts``: contacts that a human says it is; they are answered, too, if the owner sees them."""

    arrival: str
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    contacts: tuple[int, ...] = ()


class LookPlanfix(Model):
    """Ask the Planfix watcher.

    ``listing``: the whole filter, with all fields, as its owner sees it; ``contacts``: these numbers, with their
    membership of the filter; ``confirm``: whether the missing ``contacts`` have really left, asked together with
    ``known`` members (2-semantics 2.4); ``match``: Planfix contacts with these addresses; ``filter``: the filter
    itself. Without ``filter_id`` (``contacts`` only) the answer goes to every filter that holds them. ``probe``
    (``listing`` only): whoever asks wants to know at once whether more than so many contacts may come.
    """

    request_id: str
    filter_id: str = ""
    owner: int | None = None
    what: Literal["listing", "contacts", "confirm", "match", "filter"]
    contacts: tuple[int, ...] = ()
    known: tuple[int, ...] = ()
    match: tuple[PersonQuery, ...] = ()
    probe: int | None = None
    not_before: float = 0.0
    cls: Class = Class.CHANGE
    reason: str = ""


# --- observed: Planfix ------------------------------------------------------------------------------------


class PlanfixContact(Model):
    """One contact as it was read. ``fields`` holds what was asked for; a missing field is unknown.

    ``made_from``: of a contact that we created, whose person it is: the account's token and the person's source id,
    with a colon between. Not every Planfix shows it, so its absence says nothing.
    """

    contact: ContactNumber
    fields: Contact
    is_company: bool = False
    made_from: str = ""


class PlanfixObserved(Model):
    """Contacts as they were in Planfix at ``seen_at``, our clock when the read began.

    ``member`` is true when the read was conditioned on the filter and on what its owner can see, so that each
    contact in it is a member; null when the read says nothing about membership.
    ``request_id`` names the look that this answers. ``total_hint``: the listing that this belongs to may bring so
    many contacts or more, which is more than its ``probe``.
    """

    filter_id: FilterToken
    seen_at: float
    member: bool | None = None
    contacts: tuple[PlanfixContact, ...] = ()
    request_id: str = ""
    total_hint: int | None = None


class PlanfixListed(Model):
    """Part of the end of a complete listing: of the numbers from ``low`` to ``high``, exactly ``members`` came.

    Each part stands for itself. ``last`` marks the part that ends the listing ``request_id``.
    """

    filter_id: FilterToken
    began_at: float
    low: int
    high: int
    members: tuple[int, ...]
    last: bool = False
    request_id: str = ""


class PlanfixConfirmed(Model):
    """What a look for contacts that seemed to have left gave (asked twice, with known members as proof)."""

    filter_id: FilterToken
    seen_at: float
    gone: tuple[int, ...] = ()
    present: tuple[int, ...] = ()
    undecided: tuple[int, ...] = ()
    request_id: str = ""


class ArrivalMatches(Model):
    arrival: str
    contacts: tuple[PlanfixContact, ...] = ()
    invisible: bool = False
    """A contact matched that the filter's owner cannot see: nothing else is said about it."""


class PlanfixMatched(Model):
    """Planfix contacts that share an address with people who were put under the label."""

    filter_id: FilterToken
    seen_at: float
    answers: tuple[ArrivalMatches, ...]
    request_id: str = ""


class FilterProblem(StrEnum):
    PLAN_NEEDED = "plan_needed"
    FILTER_GONE = "filter_gone"
    OWNER_GONE = "owner_gone"


class FilterObserved(Model):
    """The filter itself: its name and owner, or what is wrong with it."""

    filter_id: FilterToken
    seen_at: float
    name: str | None = None
    owner: int | None = None
    problem: FilterProblem | None = None
    detail: str = ""


# --- observed: Google -------------------------------------------------------------------------------------


class Stamp(Model):
    """Our mark in a person's ``clientData`` (2-semantics 2.2)."""

    contact: ContactNumber
    kept: Kept


class GooglePerson(Model):
    """One person as it was read. ``raw`` is Google's own JSON of the mapped fields, memberships and client data,
    opaque to everyone but ``google/mapping.py``; ``etag`` is the contact source's etag that it belongs to."""

    resource: str
    source_id: str
    etag: str
    updated_at: float
    fields: Contact
    raw: dict[str, Any]
    labels: tuple[str, ...] = ()
    stamps: tuple[Stamp, ...] = ()
    previous: tuple[str, ...] = ()
    limits: dict[str, str] = {}
    """Field to the reason why its value cannot be held by Planfix."""


class GoogleObserved(Model):
    """People of this filter (by label, by stamp, or because they were linked before) as they were in Google."""

    filter_id: FilterToken
    account: str
    seen_at: float
    people: tuple[GooglePerson, ...] = ()
    request_id: str = ""


class GoogleGone(Model):
    """People that a look-up by name answered with 404; a merged one is an observation with ``previous`` instead."""

    filter_id: FilterToken
    account: str
    seen_at: float
    resources: tuple[str, ...]
    request_id: str = ""


class GoogleListed(Model):
    """Part of the end of a complete listing: of the resource names from ``low`` to ``high`` (by code point)
    exactly ``resources`` of this filter came. ``people_total`` counts the whole account, private people too."""

    filter_id: FilterToken
    account: str
    began_at: float
    low: str
    high: str
    resources: tuple[str, ...]
    people_total: int = 0
    last: bool = False
    request_id: str = ""


class GoogleCaughtUp(Model):
    """Everything that Google's lists showed at ``seen_at`` has been told to this filter."""

    filter_id: FilterToken
    account: str
    seen_at: float
    request_id: str = ""


class Candidate(Model):
    """A person that may be a contact's partner: keyed hashes of its folded names, nothing in clear."""

    resource: str
    by: Literal["stamp", "source", "email", "phone"]
    given: str = ""
    given_initial: str = ""
    given_is_initial: bool = False
    family: str = ""


class ContactCandidates(Model):
    contact: ContactNumber
    candidates: tuple[Candidate, ...] = ()


class GoogleCandidates(Model):
    """For each contact asked, the people in the account that may be it. Sent only with a complete index."""

    filter_id: FilterToken
    account: str
    seen_at: float
    answers: tuple[ContactCandidates, ...]
    request_id: str = ""


class LabelObserved(Model):
    """The label as a look-up by its resource name found it."""

    filter_id: FilterToken
    account: str
    seen_at: float
    label: str
    exists: bool
    name: str = ""
    members: int = 0


class AccountObserved(Model):
    """The account's grant: dead (a person has to reconnect) or alive again."""

    filter_id: FilterToken
    account: str
    seen_at: float
    connected: bool
    reason: str = ""


# --- mutate -----------------------------------------------------------------------------------------------


class GoogleMutation(Model):
    """What is wanted of one person; the revision per link makes it once-only.

    ``ensure``: the contact's person exists with these ``fields`` under the label: created, or found by the
    identity map. ``update``: these ``fields`` (changed ones only) are written over ``raw`` at ``etag``, the label
    is on. ``adopt``: like update for a person that was found by match: the stamp says *adopted*.
    ``remove``: the label comes off; a person of ours that nothing else holds is deleted.
    ``release``: a human took the person from this filter: nothing is written, but another filter merges its fields.
    Whoever leaves gives its bases, and in ``limits`` why they differ, to the filter that merges after it.
    ``at``: when it was decided.
    """

    contact: ContactNumber
    mutation_id: str
    revision: Annotated[int, Field(ge=1)]
    op: Literal["ensure", "update", "adopt", "remove", "release"]
    fields: Contact = {}
    is_company: bool = False
    resource: str | None = None
    etag: str | None = None
    raw: dict[str, Any] | None = None
    base_planfix: Contact | None = None
    base_google: Contact | None = None
    limits: dict[str, str] = {}
    at: float = 0.0


class LabelMutation(Model):
    """``ensure``: the filter has its label, named like it; ``rename``: if its name is still the one we gave.
    Without ``make`` a label that is not there is not made. ``known``: its resource name, if the filter knows it."""

    mutation_id: str
    revision: Annotated[int, Field(ge=1)]
    op: Literal["ensure", "rename"]
    name: str
    make: bool = True
    known: str = ""


class Forget(Model):
    """The filter is over for this target: nothing that was asked before is done any more, and what was kept of it is
    erased. ``emptied``: its people were taken away before, so that our stamp leaves its label, too."""

    mutation_id: str
    emptied: bool = False


class PlanfixMutation(Model):
    """What is wanted of one Planfix contact.

    ``update``: ``fields`` (changed ones only) over ``expected`` (what they were when merged: a contact that differs
    there settles as *stale*). ``create``: a new contact for the person ``arrival``, with ``marker`` as its
    ``sourceObjectId`` so that a lost answer is found again.
    """

    contact: int | None = None
    arrival: str | None = None
    mutation_id: str
    revision: Annotated[int, Field(ge=1)]
    op: Literal["update", "create"]
    fields: Contact
    expected: Contact = {}
    is_company: bool = False
    owner: int
    defaults: NewContactDefaults | None = None
    marker: str = ""


class Mutate(Model):
    """One message to the writer. ``since``, ``two_way`` and ``active`` rank the filters that hold one contact (2.4),
    ``ranked_at`` says since when the latter two are so (0: always);
    ``more`` says that further mutations follow at once, so that batches may wait to be full. ``people_total`` and
    ``people_at``: how many people the newest complete listing of the account showed, and when it began (0: none)."""

    filter_id: FilterToken
    target: str
    epoch: int
    cls: Class = Class.CHANGE
    since: float = 0.0
    two_way: bool = True
    active: bool = True
    ranked_at: float = 0.0
    more: bool = False
    people_total: int = 0
    people_at: float = 0.0
    label: LabelMutation | None = None
    google: tuple[GoogleMutation, ...] = ()
    planfix: tuple[PlanfixMutation, ...] = ()
    forget: Forget | None = None


# --- settled ----------------------------------------------------------------------------------------------


class Outcome(StrEnum):
    DONE = "done"
    STALE = "stale"
    """The other side has changed; what it is now is in the answer: merge again."""
    GONE = "gone"
    """The person or contact is not there any more."""
    LABELLED = "labelled"
    """Another filter merges this contact's fields; the label is on."""
    READ_ONLY = "read_only"
    """The filter's owner may not edit the contact (confirmed)."""
    REFUSED = "refused"
    """The vendor does not take it; ``reason`` says why. Not sent again until something changes."""
    FULL = "full"
    """The account holds as many people as it can."""


class SettledItem(Model):
    """What came of one mutation. ``person`` or ``planfix`` is the side as the server answered it; where a settled
    mutation is answered again without either, ``otherwise`` holds the written fields that the server had answered
    otherwise than they were sent. ``refused`` names fields that it did not take, with the reason in plain words.
    ``latest``: a later revision than this was settled before, so that whoever asks has lost the latest state.
    ``removed``: the person is not there any more because no filter wanted it. ``merged_into``: the person is another
    contact's."""

    contact: int | None = None
    arrival: str | None = None
    mutation_id: str
    revision: int
    outcome: Outcome
    person: GooglePerson | None = None
    planfix: PlanfixContact | None = None
    kept: Kept | None = None
    removed: bool = False
    refused: dict[str, str] = {}
    otherwise: Contact = {}
    reason: str = ""
    latest: int = 0
    merged_into: int | None = None


class Handover(Model):
    """From now on this filter merges the contact's fields, from these bases; or another one does (``merges``).

    ``limits``: why the bases differ: field, or field and element's key, to a reason.
    """

    contact: ContactNumber
    merges: bool = True
    base_planfix: Contact | None = None
    base_google: Contact | None = None
    limits: dict[str, str] = {}


class LabelSettled(Model):
    """``found``: it carried this filter's stamp already, although nobody knew of the filter."""

    mutation_id: str
    outcome: Outcome
    label: str = ""
    name: str = ""
    reused: bool = False
    found: bool = False
    reason: str = ""


class Settled(Model):
    """What came of mutations, and when the server had answered (our clock). ``forgotten``: the mutation that asked
    to forget the filter."""

    filter_id: FilterToken
    target: str
    answered_at: float
    items: tuple[SettledItem, ...] = ()
    handovers: tuple[Handover, ...] = ()
    label: LabelSettled | None = None
    forgotten: str = ""


# --- events (public) --------------------------------------------------------------------------------------


class FilterState(StrEnum):
    ENABLING = "enabling"
    FIRST_SYNC = "first_sync"
    IN_SYNC = "in_sync"
    SYNCING = "syncing"
    PAUSED = "paused"
    FROZEN = "frozen"
    RECONNECT_NEEDED = "reconnect_needed"
    PLAN_NEEDED = "plan_needed"
    FILTER_GONE = "filter_gone"
    OWNER_GONE = "owner_gone"
    DISCONNECTING = "disconnecting"


class ContactState(StrEnum):
    IN_SYNC = "in_sync"
    PENDING = "pending"
    HELD_BACK = "held_back"
    POSSIBLE_DUPLICATE = "possible_duplicate"
    QUARANTINED = "quarantined"
    DISMISSED = "dismissed"
    MERGED = "merged"


class SyncStarted(Model):
    filter_id: FilterToken
    run_id: str
    request_id: str
    at: float


class SyncProgress(Model):
    """``total`` is null until the listing's end is known."""

    filter_id: FilterToken
    run_id: str
    at: float
    done: int
    total: int | None = None
    created: int = 0
    updated: int = 0
    removed: int = 0


class SyncFinished(Model):
    filter_id: FilterToken
    run_id: str
    request_id: str
    started_at: float
    finished_at: float
    outcome: Literal["succeeded", "failed", "cancelled"]
    created: int = 0
    updated: int = 0
    removed: int = 0
    reason: str = ""


class ContactChanged(Model):
    """Contacts written to one side: numbers and field names, never values."""

    filter_id: FilterToken
    at: float
    side: Literal["planfix", "google"]
    operation: Literal["created", "updated", "removed", "linked", "dismissed"]
    contacts: tuple[int, ...]
    fields: tuple[str, ...] = ()


class ContactHeldBack(Model):
    filter_id: FilterToken
    at: float
    contact: int | None
    state: ContactState
    reason: str


class PlanFrozen(Model):
    filter_id: FilterToken
    at: float
    hash: str
    reason: str
    actions: int


class FilterStateChanged(Model):
    filter_id: FilterToken
    at: float
    state: FilterState
    previous: FilterState | None = None
    reason: str = ""


MESSAGES: dict[str, type[Model]] = {
    f"{kind.__name__}.v1": kind
    for kind in (
        SyncRequest,
        Enable,
        ChangeSettings,
        Pause,
        Resume,
        Approve,
        Decide,
        Restore,
        Rebuild,
        Undo,
        Disconnect,
        LookGoogle,
        LookPlanfix,
        PlanfixObserved,
        PlanfixListed,
        PlanfixConfirmed,
        PlanfixMatched,
        FilterObserved,
        GoogleObserved,
        GoogleGone,
        GoogleListed,
        GoogleCaughtUp,
        GoogleCandidates,
        LabelObserved,
        AccountObserved,
        Mutate,
        Settled,
        SyncStarted,
        SyncProgress,
        SyncFinished,
        ContactChanged,
        ContactHeldBack,
        PlanFrozen,
        FilterStateChanged,
    )
}
"""Every message by the text of its ``Contactsync-Type`` header."""


def type_name(contract: type[Model]) -> str:
    """The ``Contactsync-Type`` header of its messages."""
    return f"{contract.__name__}.v1"


def type_of(message: Model) -> str:
    """The ``Contactsync-Type`` header of a message."""
    return type_name(type(message))
