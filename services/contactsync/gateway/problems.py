"""Everything that can be in the way of an activation, in plain words, with its HTTP status."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Problem(StrEnum):
    """The value names the text in `texts.py`."""

    NO_PAGE = "no_page"
    BROKEN = "broken"
    LINK_FORGED = "link_forged"
    LINK_EXPIRED = "link_expired"
    LINK_USED = "link_used"
    FILTER_MISSING = "filter_missing"
    FILTER_NO_OWNER = "filter_no_owner"
    NOT_OWNER = "not_owner"
    OWNER_INACTIVE = "owner_inactive"
    PLAN_NEEDED = "plan_needed"
    PLANFIX_DOWN = "planfix_down"
    PLANFIX_DENIED = "planfix_denied"
    GOOGLE_NOT_SET = "google_not_set"
    GOOGLE_DOWN = "google_down"
    GOOGLE_ERROR = "google_error"
    NATS_DOWN = "nats_down"
    STATE_INVALID = "state_invalid"
    OTHER_BROWSER = "other_browser"
    DENIED = "denied"
    CODE_STALE = "code_stale"
    IDENTITY_WRONG = "identity_wrong"
    EMAIL_UNVERIFIED = "email_unverified"
    DOMAIN_REFUSED = "domain_refused"
    SCOPE_MISSING = "scope_missing"
    NO_REFRESH_TOKEN = "no_refresh_token"
    OTHER_ACCOUNT = "other_account"
    ACCOUNT_TAKEN = "account_taken"
    LEAVING = "leaving"
    NOT_SYNCED = "not_synced"
    NO_EMPLOYEE = "no_employee"
    MANY_EMPLOYEES = "many_employees"
    TOKEN_WRONG = "token_wrong"
    TOO_MANY = "too_many"
    FORGERY = "forgery"
    REFUSED = "refused"
    BAD_INPUT = "bad_input"
    NO_CONTACT = "no_contact"
    CONTACTS_HIDDEN = "contacts_hidden"
    TOO_LARGE = "too_large"
    CHANGED_MEANWHILE = "changed_meanwhile"
    NOT_SIGNED_IN = "not_signed_in"
    NOT_JSON = "not_json"

    @property
    def status(self) -> int:
        return _STATUS[self]


_STATUS: Final = {
    Problem.NO_PAGE: 404,
    Problem.BROKEN: 500,
    Problem.LINK_FORGED: 404,
    Problem.LINK_EXPIRED: 410,
    Problem.LINK_USED: 410,
    Problem.FILTER_MISSING: 404,
    Problem.FILTER_NO_OWNER: 403,
    Problem.NOT_OWNER: 403,
    Problem.OWNER_INACTIVE: 403,
    Problem.PLAN_NEEDED: 402,
    Problem.PLANFIX_DOWN: 503,
    Problem.PLANFIX_DENIED: 503,
    Problem.GOOGLE_NOT_SET: 503,
    Problem.GOOGLE_DOWN: 503,
    Problem.GOOGLE_ERROR: 502,
    Problem.NATS_DOWN: 503,
    Problem.STATE_INVALID: 400,
    Problem.OTHER_BROWSER: 400,
    Problem.DENIED: 403,
    Problem.CODE_STALE: 400,
    Problem.IDENTITY_WRONG: 400,
    Problem.EMAIL_UNVERIFIED: 403,
    Problem.DOMAIN_REFUSED: 403,
    Problem.SCOPE_MISSING: 403,
    Problem.NO_REFRESH_TOKEN: 403,
    Problem.OTHER_ACCOUNT: 409,
    Problem.ACCOUNT_TAKEN: 409,
    Problem.LEAVING: 409,
    Problem.NOT_SYNCED: 404,
    Problem.NO_EMPLOYEE: 403,
    Problem.MANY_EMPLOYEES: 403,
    Problem.TOKEN_WRONG: 403,
    Problem.TOO_MANY: 429,
    Problem.FORGERY: 403,
    Problem.REFUSED: 409,
    Problem.BAD_INPUT: 400,
    Problem.NO_CONTACT: 404,
    Problem.CONTACTS_HIDDEN: 403,
    Problem.TOO_LARGE: 413,
    Problem.CHANGED_MEANWHILE: 412,
    Problem.NOT_SIGNED_IN: 401,
    Problem.NOT_JSON: 415,
}


class Refusal(Exception):
    """Not done, for this reason. `again` is a path of ours that tries it again, if that can help.

    `values` fill the text's places; they are shown to the person who holds the link, never logged.
    """

    def __init__(self, problem: Problem, *, again: str | None = None, **values: str) -> None:
        super().__init__(problem.value)
        self.problem = problem
        self.again = again
        self.values = values
