"""When a filter needs a person, by its status, and what the notice says. Pure.

A need has an episode: one of the same kind and episode is told once. Its text has no contact's data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from contactsync_contracts.messages import PEOPLE_MAX, FilterState

RECONNECT: Final = "reconnect"
FROZEN: Final = "frozen"
OVER_LIMIT: Final = "over_limit"
FILTER_PROBLEM: Final = "filter_problem"

_OF_STATES: Final[Mapping[str, str]] = {
    FilterState.RECONNECT_NEEDED.value: RECONNECT,
    FilterState.FROZEN.value: FROZEN,
    FilterState.FILTER_GONE.value: FILTER_PROBLEM,
    FilterState.OWNER_GONE.value: FILTER_PROBLEM,
    FilterState.PLAN_NEEDED.value: FILTER_PROBLEM,
}
TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    RECONNECT: (
        "The Google account has to be connected again; until then nothing is synchronised.",
        "Нужно заново подключить аккаунт Google; до этого ничего не синхронизируется.",
    ),
    FROZEN: (
        "More would change at once than you allowed without asking. Look at it, then approve it or not.",
        "Сразу изменилось бы больше, чем разрешено без вопроса. Посмотрите и подтвердите, если всё верно.",
    ),
    OVER_LIMIT: (
        "The Google account holds as many people as it can; the rest of the filter is held back.",
        "Аккаунт Google заполнен; остальные контакты фильтра задержаны.",
    ),
    FILTER_PROBLEM: (
        "The filter cannot be synchronised: it is gone, its owner is not active, or Planfix's plan forbids it.",
        "Фильтр нельзя синхронизировать: его нет, его владелец не активен или не позволяет тариф Планфикса.",
    ),
}
FLAPPING_S: Final = 3600.0
"""A need that ended and is there again within this time is the same one."""


@dataclass(frozen=True, slots=True)
class Need:
    kind: str
    episode: str


def needs_of(status: Mapping[str, Any]) -> list[Need]:
    """What a filter's status asks a person for."""
    state = str(status.get("state", ""))
    plans = sorted(str(plan["hash"]) for plan in status.get("plans") or () if plan.get("hash"))
    found = [Need(FROZEN, plan) for plan in plans[:1]]
    if (kind := _OF_STATES.get(state)) is not None and not (kind == FROZEN and (found or status.get("plans"))):
        found.append(Need(kind, state))
    full = (status.get("people_in_account") or 0) >= PEOPLE_MAX
    if full and (status.get("contacts") or {}).get("held_back"):
        found.append(Need(OVER_LIMIT, OVER_LIMIT))
    return found


def letter(kind: str, name: str, url: str) -> tuple[str, str]:
    """Subject and text of an e-mail, in both languages, since nobody knows the reader's. One line each, whatever the
    filter is called."""
    shown = " ".join(name.split())[:200]
    english, russian = TEXTS[kind]
    subject = f"Contactsync: {shown}"
    return subject, f"{shown}\n\n{english}\n{russian}\n\n{url}\n"
