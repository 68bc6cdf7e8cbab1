"""The REST interface `/api/v1`: its bodies and its operations. The gateway answers with these models, and the OpenAPI
document (`export.py`) is made from them.

Times are Unix seconds (UTC). Errors are `application/problem+json` (RFC 9457).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from contactsync_contracts.messages import Breakers, ContactNumber, ContactState, FilterState, NewContactDefaults

VERSION: Final = "1"
PREFIX: Final = "/api/v1"
PAGE_MAX: Final = 200
Json = dict[str, Any]


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Body(BaseModel):
    """What a program sends: a field that nobody knows is a mistake, and is refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PlanBrief(Answer):
    """A frozen plan; its hash is empty while it is still being collected."""

    hash: str
    kind: str
    reason: str
    actions: int
    since: float


class SyncSummary(Answer):
    run_id: str
    started_at: float
    finished_at: float | None = None
    outcome: str | None = None
    created: int = 0
    updated: int = 0
    removed: int = 0


class Run(Answer):
    run_id: str
    started_at: float


class FilterStatus(Answer):
    """`reason`: why it does not go on, in a sentence. `contacts`: how many are in which state."""

    filter_id: str
    name: str
    state: FilterState
    reason: str = ""
    owner: int | None = None
    two_way: bool = True
    google_account: str | None = None
    label: str = ""
    contacts: dict[str, int] = {}
    plans: list[PlanBrief] = []
    people_in_account: int | None = None
    last_sync: SyncSummary | None = None
    run: Run | None = None
    planfix_seen_at: float | None = None
    google_seen_at: float | None = None


class FilterEntry(Answer):
    """`status` is null while the filter is not synchronised."""

    filter_id: str
    name: str
    owner: int | None = None
    owner_name: str = ""
    status: FilterStatus | None = None


class FilterPage(Answer):
    filters: list[FilterEntry]
    next: str | None = None


class FilterSettings(Answer):
    """Null: as the installation has it."""

    two_way: bool
    conflict: Annotated[
        Literal["newest", "planfix", "google"] | None,
        BeforeValidator(
            lambda stored: stored or None, json_schema_input_type=Literal["newest", "planfix", "google"] | None
        ),
    ] = None
    breakers: Breakers | None = None
    new_contact: NewContactDefaults | None = None


class SettingsChange(Body):
    """What is to change; the rest stays as it is."""

    two_way: bool | None = None
    conflict: Literal["newest", "planfix", "google"] | None = None
    breakers: Breakers | None = None
    new_contact: NewContactDefaults | None = None


class ContactRow(Answer):
    """`contact` is null for a person under the label that has no contact yet; `person` is their name in Google."""

    contact: int | None
    state: ContactState
    reason: str = ""
    notes: list[str] = []
    person: str | None = None
    candidates: list[Any] = []
    name: str = ""
    email: str = ""
    phone: str = ""


class ContactPage(Answer):
    """`total`: of this state and search; `states`: of this search, by state; `next`: the `after` that goes on. A page
    may be shorter than asked for."""

    contacts: list[ContactRow]
    total: int
    states: dict[str, int] = {}
    next: int | None = None


class ContactSearch(Body):
    """Words that all have to be found; in a body, since addresses end up in logs."""

    search: Annotated[str, Field(max_length=200)] = ""
    state: ContactState | None = None
    after: Annotated[int, Field(gt=-(10**15), lt=10**15)] = 0
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 50


class ContactDetail(ContactRow):
    """Both sides' values as last known, by field: a text, or a list of elements; null: never seen. `limits`: field,
    or field and element, to the reason why it is not carried over."""

    planfix: dict[str, Any] | None = None
    google: dict[str, Any] | None = None
    limits: dict[str, str] = {}


class HistoryEntry(Answer):
    """`fields`: before and after. `id` names it to `undo`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    contact: int
    at: float
    operation: str = ""
    side: str | None = None
    cause: str = ""
    reason: str = ""
    run: str = ""
    fields: dict[str, list[Any]] = {}


class HistoryPage(Answer):
    entries: list[HistoryEntry]
    next: str | None = None


class Preview(Answer):
    """`would`: groups of what a sync would do now; `plans`: what waits for approval. Both with a few examples."""

    filter_id: str
    state: FilterState
    reason: str = ""
    plans: list[dict[str, Any]] = []
    would: list[dict[str, Any]] = []


class Requested(Answer):
    """`request_id` is the run's id and stands in its events."""

    request_id: str


class Decision(Body):
    """As `contactsync decide`: `contact`, `person` or, for `same`, both name who is meant; nobody: all (`new`)."""

    decision: Literal["same", "separate", "new"]
    contact: ContactNumber | None = None
    person: Annotated[str, Field(max_length=200)] | None = None


class RestoreOne(Body):
    """Without a contact: everything that was removed in Google."""

    contact: ContactNumber | None = None


class UndoWhat(Body):
    """Either an entry (`<contact>.<number>`, with or without its filter in front) or a run."""

    entry: Annotated[str, Field(max_length=300)] | None = None
    run: Annotated[str, Field(max_length=300)] | None = None


class Undone(Answer):
    undone: int
    left: int
    why: list[str] = []


class Disconnection(Body):
    remove_contacts: bool = False


class Gone(Answer):
    """`gone`: nothing is left of the filter; else it is still being disconnected."""

    gone: bool


class TokenName(Body):
    name: Annotated[str, Field(min_length=1, max_length=100)]


class TokenMade(Answer):
    """The token is shown this once."""

    id: str
    token: str


class TokenBrief(Answer):
    id: str
    name: str
    made_at: float


class TokenList(Answer):
    tokens: list[TokenBrief]


class System(Answer):
    services: list[dict[str, Any]]
    quotas: list[dict[str, Any]]


class ProblemDetails(Answer):
    """RFC 9457. `code` is one of a fixed set; title and detail are for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str


@dataclass(frozen=True, slots=True)
class Operation:
    """`name` is also the name of the gateway's handler. `query`: parameters with their schemas."""

    name: str
    method: Literal["get", "post", "patch", "delete"]
    path: str
    summary: str
    answer: type[Answer] | None
    body: type[Body] | None = None
    query: tuple[tuple[str, Json, str], ...] = ()
    etag: bool = False
    status: int = 200
    stream: bool = False


_LIMIT: Final = ("limit", {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": 50}, "At most so many.")
_NUMBER: Final[Json] = {"type": "integer", "minimum": 0, "maximum": 10**15 - 1}
_FILTER: Final = "/filters/{filter_id}"

OPERATIONS: Final = (
    Operation(
        "filters",
        "get",
        "/filters",
        "The filters that you own, or all for the operator, by id.",
        FilterPage,
        query=(("after", {"type": "string", "maxLength": 200}, "Only ids after this one."), _LIMIT),
    ),
    Operation("filter", "get", _FILTER, "The state of a synchronised filter.", FilterStatus),
    Operation(
        "settings", "get", f"{_FILTER}/settings", "A filter's settings, with an ETag.", FilterSettings, etag=True
    ),
    Operation(
        "change_settings",
        "patch",
        f"{_FILTER}/settings",
        "Change settings; with `If-Match` only if nobody else has changed them meanwhile (412).",
        FilterSettings,
        SettingsChange,
        etag=True,
    ),
    Operation("sync", "post", f"{_FILTER}/sync", "Synchronise now.", Requested, status=202),
    Operation("pause", "post", f"{_FILTER}/pause", "Stop until resumed.", FilterStatus),
    Operation("resume", "post", f"{_FILTER}/resume", "Go on with a paused filter.", FilterStatus),
    Operation("preview", "get", f"{_FILTER}/preview", "What a sync would do now; reads both sides.", Preview),
    Operation(
        "approve",
        "post",
        f"{_FILTER}/plans/{{hash}}/approve",
        "Carry out exactly the plan with this hash.",
        FilterStatus,
    ),
    Operation(
        "contacts",
        "get",
        f"{_FILTER}/contacts",
        "Contacts by number, each with its state and the reason.",
        ContactPage,
        query=(
            ("state", {"type": "string", "enum": [one.value for one in ContactState]}, "Only in this state."),
            ("after", {**_NUMBER, "minimum": 1 - 10**15}, "What `next` of the page before said."),
            _LIMIT,
        ),
    ),
    Operation("search", "post", f"{_FILTER}/contacts/search", "Contacts by words.", ContactPage, ContactSearch),
    Operation("contact", "get", f"{_FILTER}/contacts/{{contact}}", "One contact, both sides' values.", ContactDetail),
    Operation(
        "history",
        "get",
        f"{_FILTER}/history",
        "What was done, the newest first.",
        HistoryPage,
        query=(("contact", {**_NUMBER, "minimum": 1}, "Only of this contact."), _LIMIT),
    ),
    Operation("undo", "post", f"{_FILTER}/undo", "Take back an entry or a run.", Undone, UndoWhat),
    Operation("restore", "post", f"{_FILTER}/restore", "Bring back what was removed.", FilterStatus, RestoreOne),
    Operation("decide", "post", f"{_FILTER}/decide", "Settle possible duplicates, for good.", FilterStatus, Decision),
    Operation("rebuild", "post", f"{_FILTER}/rebuild", "Find links again by stamp.", Requested, status=202),
    Operation("disconnect", "post", f"{_FILTER}/disconnect", "End it and erase what is stored.", Gone, Disconnection),
    Operation(
        "events",
        "get",
        f"{_FILTER}/events",
        "Server-sent events: `status` with a FilterStatus and `progress`, whenever something is new.",
        None,
        stream=True,
    ),
    Operation("tokens", "get", "/tokens", "Your bearer tokens.", TokenList),
    Operation("make_token", "post", "/tokens", "A bearer token for a program.", TokenMade, TokenName, status=201),
    Operation("end_token", "delete", "/tokens/{token_id}", "End a bearer token.", None, status=204),
    Operation("system", "get", "/system", "Replicas, queues and quotas; for the operator.", System),
)

_PATH_PARAMETERS: Final[dict[str, Json]] = {
    "filter_id": {"type": "string", "minLength": 1, "maxLength": 200},
    "hash": {"type": "string", "minLength": 1, "maxLength": 100},
    "contact": {**_NUMBER, "minimum": 1},
    "token_id": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
}
_ERRORS: Final = {
    "400": "The request does not fit this document; `detail` says where.",
    "401": "Nobody is signed in, and no bearer token came along.",
    "403": "Not for you, or a form's secret is missing (`X-CSRF-Token`).",
    "404": "There is none, or it is not yours.",
    "409": "A service refused; `detail` has its reason.",
    "412": "Somebody else has changed it meanwhile.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "429": "Too many requests; `Retry-After` says how long to wait.",
    "503": "Planfix or the services behind do not answer at the moment.",
}


def openapi() -> Json:
    """The OpenAPI 3.1 document."""
    models: list[type[BaseModel]] = [ProblemDetails]
    for one in OPERATIONS:
        models += [model for model in (one.answer, one.body) if model is not None and model not in models]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, Json] = {}
    for one in OPERATIONS:
        paths.setdefault(PREFIX + one.path, {})[one.method] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Contactsync",
            "version": VERSION,
            "description": "What employees may do with the filters that they own, and the operator with all.",
        },
        "security": [{"bearer": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "contactsync_signed_in"},
            },
        },
    }


def _operation(one: Operation) -> Json:
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in _PATH_PARAMETERS.items()
        if f"{{{name}}}" in one.path
    ]
    parameters += [{"name": n, "in": "query", "schema": s, "description": text} for n, s, text in one.query]
    if one.etag and one.method == "patch":
        parameters.append({"name": "If-Match", "in": "header", "schema": {"type": "string"}})
    done: Json = {"description": one.summary}
    if one.stream:
        done["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    elif one.answer is not None:
        done["content"] = {"application/json": {"schema": _ref(one.answer)}}
    if one.etag:
        done["headers"] = {"ETag": {"schema": {"type": "string"}}}
    wrong = {
        status: {"description": text, "content": {"application/problem+json": {"schema": _ref(ProblemDetails)}}}
        for status, text in _ERRORS.items()
    }
    made: Json = {"operationId": one.name, "summary": one.summary, "responses": {str(one.status): done, **wrong}}
    if parameters:
        made["parameters"] = parameters
    if one.body is not None:
        needed = any(field.is_required() for field in one.body.model_fields.values())
        made["requestBody"] = {"required": needed, "content": {"application/json": {"schema": _ref(one.body)}}}
    return made


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
