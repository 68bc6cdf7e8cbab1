"""What the simulated Planfix does where the vendor's documents leave it open; `planfix.py` reads it.

The defaults are the harsher reading of each open question, so that a client which survives them survives
the milder one; a test switches a single answer and keeps the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class PlanfixOptions:
    """Switches of one simulated account; durations in seconds, limits in requests."""

    token: str = "simulated-planfix-token"
    """Bearer token of the robot that the account starts with; more come from `add_token`."""
    robot_timezone: str = "Europe/Berlin"
    """Date filters and wall clocks are in the time zone of the token's employee."""
    path_prefix: str = "/rest"
    redirect_to: str | None = None
    """An own domain: every request is redirected to this base address, which keeps the path."""

    requests_per_second: float = 1.0
    """0 switches the limit off. RefusalError requests count as arrivals too."""
    rate_tolerance_s: float = 0.0
    rate_breach: Literal["429", "403"] = "429"
    """Whether more than one request a second answers HTTP 429 or HTTP 403 with code 22."""
    requests_per_day: int = 20_000
    """0 switches the limit off; the day is UTC's."""
    time_to_reset_unit: Literal["ms", "s"] = "ms"
    remaining_refresh_s: float = 600.0
    """`X-RateLimit-Remaining` is only brought up to date this often."""
    failures_as_200: bool = False
    """Logical failures (HTTP 400, 404) come as HTTP 200 with `result: fail`."""
    metadata_scope: str = "contact_readonly"
    """Scope that filters, groups, templates and custom fields ask for."""

    accept_bare_system_filter: bool = False
    """Whether `contact` is taken for `:contact`."""
    companies_in_person_lists: bool = False
    """Whether a list without `isCompany` has companies too."""
    list_trashed: bool = False
    """Whether trashed contacts stay in lists with `isDeleted: true`."""
    get_trashed: bool = False
    """Whether GET by id answers a trashed contact with `isDeleted: true` instead of 404."""
    gt_includes_start: bool = False
    """Whether `gt` of a date or minute includes that date or minute."""
    ambiguous_hour_is_later: bool = True
    """The local hour that comes twice in autumn is read as its second pass: fewer contacts are newer."""

    empty_text: Literal["empty", "null", "absent"] = "empty"
    empty_object: Literal["null", "absent"] = "null"
    """A birth date or group that is not set."""
    utc_seconds: bool = True
    """Whether time points have `dateTimeUtcSeconds`."""
    hidden_fields: frozenset[str] = frozenset()
    """Fields the token's employee may not see; by their API names."""
    hidden_as: Literal["absent", "empty"] = "empty"
    readonly_fields: frozenset[str] = frozenset()
    """Fields the token's employee may not change: an update reports them in `failures`."""

    silent_bumps_modified: bool = True
    noop_bumps_modified: bool = True
    """Whether an update that changes nothing moves `dateOfLastUpdate`."""
    name_required: Literal["name", "full_name"] = "name"
    template_required: bool = False
    email_conflict_on_update: Literal["error", "failure"] = "error"
    email_conflict_code_on_create: Literal[2001, 2005] = 2001
    trash_keeps_emails: bool = True
    """Whether the e-mail of a trashed contact stays taken."""
    additional_emails: Literal["ignored", "refused", "writable"] = "ignored"
    failures_shape: Literal["list", "object"] = "list"
    null_clears: bool = True
    """Whether null clears a field; else it is left alone like an omitted one."""
    phone_storage: Literal["digits", "as_written"] = "digits"
    reformats: bool = False
    """Rewrites texts on every API write: spaces collapsed, e-mail lower-cased, a site gets a scheme."""
    emoji: Literal["keep", "strip", "reject"] = "keep"
    """Characters above U+FFFF."""
    is_deleted_by_update: bool = True
    """Whether `isDeleted: true` in an update trashes the contact, as it does in an import."""
    queued_delay_s: float = 5.0
    """How long an update answered with 202 waits before it is applied."""
    contacts_max: int = 0
    """The account's limit of contacts (code 23); 0 is no limit."""
