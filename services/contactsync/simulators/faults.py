"""Which of the next requests go wrong, and how: one rule set for both simulated vendors.

Pure. Semantic faults (`SEMANTIC_KINDS`) are asked for by the simulators; those of the transport are laid over them by
`faulty` in-process and by `http.py`, which really cuts the connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from .wire import Request, Response

TRANSPORT_KINDS: Final = frozenset(
    {"lost_answer", "reset", "status", "status_after", "delay", "html", "truncate_body"}
)
SEMANTIC_KINDS: Final = frozenset({"short_page", "empty_page", "capped_list", "expire_sync_tokens"})
_HTML: Final = "text/html; charset=UTF-8"
_JSON: Final = "application/json; charset=UTF-8"


@dataclass(slots=True, kw_only=True)
class Fault:
    """One rule. ``path`` is searched (regular expression) in the decoded path.

    ``times`` requests are hit, after the first ``skip`` matching ones passed; None is for ever. ``status`` and
    ``body`` belong to `status` and `status_after`, ``seconds`` to `delay`, ``keep`` to `short_page` and
    `capped_list` (None: half);
    ``honest``: the totals of a cut list still tell the truth.

    ==================  =========================================================================
    `lost_answer`       the request takes effect, then the connection is cut
    `reset`             the connection is cut before any effect
    `status`            the given answer, before any effect
    `status_after`      the request takes effect, the given answer is sent
    `delay`             the answer comes late
    `html`              no effect; 200 with an HTML page
    `truncate_body`     the request takes effect, half of the answer's body arrives
    `short_page`        a list silently loses its end and says that it is complete
    `empty_page`        a list is empty and says that it is complete
    `capped_list`       a list has at most ``keep`` rows over all its pages and says that it is complete
    `expire_sync_tokens`  every sync token given out so far is expired (Google)
    ==================  =========================================================================
    """

    kind: str
    path: str = ""
    method: str | None = None
    times: int | None = 1
    skip: int = 0
    status: int = 503
    body: str = ""
    content_type: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    keep: int | None = None
    honest: bool = False
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in TRANSPORT_KINDS | SEMANTIC_KINDS:
            raise ValueError(f"unknown fault {self.kind!r}")
        re.compile(self.path)

    def matches(self, request: Request) -> bool:
        if self.method is not None and self.method.upper() != request.method.upper():
            return False
        return re.search(self.path, request.path) is not None

    @property
    def spent(self) -> bool:
        return self.times is not None and self.times <= 0

    def response(self) -> Response:
        content_type = self.content_type or (_HTML if self.body.lstrip().startswith("<") else _JSON)
        return Response(self.status, self.body.encode(), {"Content-Type": content_type, **self.headers})


@dataclass(slots=True)
class Chance:
    """Each of these kinds hits each request with the same probability, by a generator of its own seed."""

    kinds: tuple[str, ...]
    probability: float
    random: Random
    seconds: float = 2.0
    """How late a `delay` is."""

    def hits(self, kinds: tuple[str, ...]) -> list[Fault]:
        return [
            Fault(kind=kind, seconds=self.seconds, status=self.random.choice((500, 502, 503)))
            for kind in self.kinds
            if (not kinds or kind in kinds) and self.random.random() < self.probability
        ]


@dataclass(slots=True)
class Faults:
    """The rules in force, in the order in which they were added; `chance` comes on top of them."""

    rules: list[Fault] = field(default_factory=list)
    chance: Chance | None = None
    CONTROL = frozenset({"add_fault", "clear", "dump", "counters"})

    def add(self, fault: Fault) -> Fault:
        self.rules.append(fault)
        return fault

    def add_fault(self, **fields: object) -> None:
        """The fields of `Fault` (for the control endpoint). Raises ValueError for an unknown kind or pattern."""
        try:
            self.add(Fault(**fields))  # type: ignore[arg-type]
        except (TypeError, re.error) as error:
            raise ValueError(str(error)) from error

    def clear(self) -> None:
        self.rules.clear()

    def decide(self, request: Request, *kinds: str) -> list[Fault]:
        """The faults that hit this request, their counts used up; of all kinds, or of the given ones."""
        hit = []
        for rule in self.rules:
            if (kinds and rule.kind not in kinds) or rule.spent or not rule.matches(request):
                continue
            if rule.skip > 0:
                rule.skip -= 1
                continue
            rule.hits += 1
            if rule.times is not None:
                rule.times -= 1
            hit.append(rule)
        return hit + (self.chance.hits(kinds) if self.chance is not None else [])

    def first(self, request: Request, *kinds: str) -> Fault | None:
        return next(iter(self.decide(request, *kinds)), None)

    def semantic(self, request: Request, *kinds: str) -> str | None:
        """The kind of the first semantic fault of these kinds that hits this request."""
        fault = self.first(request, *kinds)
        return None if fault is None else fault.kind

    def dump(self) -> list[dict[str, object]]:
        return [
            {"kind": rule.kind, "path": rule.path, "method": rule.method, "times": rule.times, "hits": rule.hits}
            for rule in self.rules
        ]

    def counters(self) -> dict[str, int]:
        """How often each kind has hit."""
        hits: dict[str, int] = {}
        for rule in self.rules:
            hits[rule.kind] = hits.get(rule.kind, 0) + rule.hits
        return hits


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a request: wait ``delay_s``, then either ``response`` alone or the simulator's own answer.

    ``cut_before`` and ``cut_after`` cut the connection; ``replace`` is sent in place of the simulator's answer.
    """

    delay_s: float = 0.0
    cut_before: bool = False
    cut_after: bool = False
    response: Response | None = None
    replace: Response | None = None
    truncate: bool = False


def judge(faults: Faults, request: Request) -> Verdict:
    """The transport faults for this request as one verdict; uses up their counts."""
    hit = {fault.kind: fault for fault in reversed(faults.decide(request, *TRANSPORT_KINDS))}
    early = hit.get("status")
    html = hit.get("html")
    after = hit.get("status_after")
    response = early.response() if early else None
    if html is not None and response is None:
        page = html.body or "<!DOCTYPE html><html><title>One moment</title><p>Please try again.</p></html>"
        response = Response(200, page.encode(), {"Content-Type": _HTML})
    return Verdict(
        delay_s=hit["delay"].seconds if "delay" in hit else 0.0,
        cut_before="reset" in hit,
        cut_after="lost_answer" in hit,
        response=response,
        replace=after.response() if after else None,
        truncate="truncate_body" in hit,
    )


def answer_of(verdict: Verdict, request: Request, handle: Callable[[Request], Response]) -> Response:
    """The answer under a verdict, except for its delay. Raises ConnectionResetError where the connection is cut."""
    if verdict.cut_before:
        raise ConnectionResetError("cut before the request took effect")
    if verdict.response is not None:
        return verdict.response
    response = handle(request)
    if verdict.cut_after:
        raise ConnectionResetError("cut after the request took effect")
    if verdict.replace is not None:
        return verdict.replace
    if verdict.truncate:
        return Response(response.status, response.body[: len(response.body) // 2], response.headers)
    return response


def faulty(
    handle: Callable[[Request], Response], faults: Faults, sleep: Callable[[float], None] | None = None
) -> Callable[[Request], Response]:
    """``handle`` with the transport's faults, in-process: a cut connection raises ConnectionResetError."""

    def wrapped(request: Request) -> Response:
        verdict = judge(faults, request)
        if sleep is not None and verdict.delay_s:
            sleep(verdict.delay_s)
        return answer_of(verdict, request, handle)

    return wrapped
