"""A simulated Planfix account with a short way to talk to it; tests of the simulator share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from contactsync.simulators.planfix import PlanfixSimulator
from contactsync.simulators.planfix_options import PlanfixOptions
from contactsync.simulators.wire import Request, Response

NOON_S = 1_795_007_220.0  # 2026-11-18 14:07:00 in Berlin


@dataclass
class Clock:
    now_s: float = NOON_S

    def __call__(self) -> float:
        return self.now_s


class Account:
    """A simulator with a short way to talk to it."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.planfix = PlanfixSimulator(self.clock, PlanfixOptions(**({"requests_per_second": 0.0} | options)))

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = "simulated-planfix-token",
        query: Mapping[str, str] | None = None,
    ) -> Response:
        return self.planfix.handle(
            Request(
                method,
                f"/rest{path}",
                {key: [value] for key, value in (query or {}).items()},
                {"authorization": f"Bearer {token}", "content-type": "application/json"},
                b"" if body is None else orjson.dumps(body),
            )
        )

    def call(self, method: str, path: str, body: Any = None, **kwargs: Any) -> tuple[int, Any]:
        response = self.ask(method, path, body, **kwargs)
        return response.status, orjson.loads(response.body) if response.body else None

    def listed(self, **body: Any) -> list[int]:
        status, answer = self.call("POST", "/contact/list", {"fields": "id"} | body)
        assert status == 200
        return [contact["id"] for contact in answer["contacts"]]

    def read(self, contact: int, fields: str) -> dict[str, Any]:
        status, answer = self.call("GET", f"/contact/{contact}", query={"fields": fields})
        assert status == 200, answer
        found: dict[str, Any] = answer["contact"]
        return found

    def code(self, method: str, path: str, body: Any = None, **kwargs: Any) -> tuple[int, int]:
        status, answer = self.call(method, path, body, **kwargs)
        assert answer["result"] == "fail"
        return status, answer["code"]


def modified_after(text: str, **extra: Any) -> dict[str, Any]:
    value = {"dateType": "otherDate_withTime", "dateFrom": text} | extra
    return {"type": 38, "operator": "gt", "value": value}
