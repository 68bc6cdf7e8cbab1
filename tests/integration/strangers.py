"""Vendors that answer in other shapes than our simulators: `python strangers.py --port P WORD...` serves them.

Each word rewrites requests and answers around `handle()`; what happens behind it stays the simulators'. Whatever the
vendors' descriptions leave optional, or say in two ways, some server does the other way.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import orjson

from contactsync.simulators.faults import Faults
from contactsync.simulators.google import GoogleSimulator
from contactsync.simulators.google_options import GoogleOptions
from contactsync.simulators.http import Simulators, serve
from contactsync.simulators.oauth import OAuthOptions, OAuthSimulator
from contactsync.simulators.planfix import PlanfixSimulator
from contactsync.simulators.wire import Request, Response

Json = Any
SOURCE = re.compile(r"^#")


def walk(value: Json, change: Callable[[dict[str, Any]], None]) -> Json:
    """`change` sees every object, inner ones first."""
    if isinstance(value, dict):
        for inner in value.values():
            walk(inner, change)
        change(value)
    elif isinstance(value, list):
        for inner in value:
            walk(inner, change)
    return value


def dropping(*names: str) -> Callable[[dict[str, Any]], None]:
    def change(one: dict[str, Any]) -> None:
        for name in names:
            one.pop(name, None)

    return change


class StrangeGoogle(GoogleSimulator):
    words: frozenset[str] = frozenset()

    def handle(self, request: Request) -> Response:
        self._originals = getattr(self, "_originals", {})
        if request.path.startswith("/v1/") and request.path != "/v1/userinfo":
            refusal = self._refused(request)
            if refusal is not None:
                return refusal
            request = self._asked(request)
            answer = super().handle(request)
            return self._answered(request, answer)
        answer = super().handle(request)
        return self._signed_in(request, answer)

    # ---- People API

    def _refused(self, request: Request) -> Response | None:
        """A server that insists on an etag beside the body, whatever the sources say."""
        if "top_etag" not in self.words or not request.body:
            return None
        body = orjson.loads(request.body)
        if request.path.endswith(":updateContact"):
            people = [body]
        elif request.path.endswith(":batchUpdateContacts"):
            people = list(body["contacts"].values())
        else:
            return None
        if all(person.get("etag") for person in people):
            return None
        error = {"code": 400, "message": "Request must set person.etag.", "status": "INVALID_ARGUMENT"}
        return Response(400, orjson.dumps({"error": error}))

    def _asked(self, request: Request) -> Request:
        body = orjson.loads(request.body) if request.body else None
        if body is not None and self.words & {"plain_etags", "same_etags"}:
            walk(body, self._original_etags)
        if body is not None and "labels_without_data" in self.words and isinstance(body.get("contactGroup"), dict):
            body["contactGroup"].pop("clientData", None)
            if body.get("updateGroupFields") == "clientData":
                body["updateGroupFields"] = "name"
        path, query = request.path, request.query
        if "numbered_people" in self.words:
            path = re.sub(r"people/(\d+)", r"people/c\1", path)
            query = {k: [re.sub(r"^people/(\d+)$", r"people/c\1", v) for v in vs] for k, vs in query.items()}
            if body is not None:
                body = orjson.loads(re.sub(rb'"people/(\d+)"', rb'"people/c\1"', orjson.dumps(body)))
        raw = request.body if body is None else orjson.dumps(body)
        return replace(request, path=path, query=query, body=raw)

    def _original_etags(self, one: dict[str, Any]) -> None:
        etag = one.get("etag")
        if etag not in self._originals:
            return
        if "metadata" in one or "names" in one or "memberships" in one or "resourceName" in one:
            one.pop("etag")  # a person's own one: the source's says the same here
            if not (one.get("metadata") or {}).get("sources") and str(one.get("resourceName", "")).startswith(
                "people"
            ):
                one["metadata"] = {"sources": [{"type": "CONTACT", "etag": self._originals[etag]}]}
            elif str(one.get("resourceName", "")).startswith("contactGroups"):
                one["etag"] = self._originals[etag]
        else:
            one["etag"] = self._originals[etag]

    def _answered(self, request: Request, answer: Response) -> Response:
        if answer.status >= 400:
            return answer
        body = orjson.loads(answer.body)
        words = self.words
        if "no_totals" in words:
            walk(body, dropping("totalItems", "totalPeople"))
        if "no_member_counts" in words:
            walk(body, dropping("memberCount"))
        if "no_group_tokens" in words and request.path == "/v1/contactGroups":
            body.pop("nextSyncToken", None)
        if "labels_without_data" in words and "contactGroups" in request.path:
            walk(body, dropping("clientData"))
        if "no_times" in words:
            walk(body, dropping("updateTime"))
        if "no_status" in words:
            walk(body, dropping("httpStatusCode", "status", "requestedResourceName"))
        if "no_group_types" in words:
            walk(body, dropping("groupType", "formattedName"))
        if words & {"plain_etags", "same_etags"}:
            walk(body, self._other_etags)
        if "no_sources" in words:
            walk(body, self._no_sources)
        if "no_source_etags" in words:
            walk(body, lambda one: one.pop("etag", None) if one.get("type") == "CONTACT" else None)
        raw = orjson.dumps(body)
        if "numbered_people" in words:
            raw = re.sub(rb'"people/c(\d+)"', rb'"people/\1"', raw)
        return replace(answer, body=raw)

    def _other_etags(self, one: dict[str, Any]) -> None:
        etag = one.get("etag")
        if not isinstance(etag, str):
            return
        source = next(
            (s for s in (one.get("metadata") or {}).get("sources") or () if s.get("type") == "CONTACT"), None
        )
        if source is not None:
            one["etag"] = source["etag"]
            return
        plain = hashlib.sha256(etag.encode()).hexdigest()[:10]
        self._originals[plain] = etag
        one["etag"] = plain

    @staticmethod
    def _no_sources(one: dict[str, Any]) -> None:
        if isinstance(one.get("resourceName"), str) and one["resourceName"].startswith("people/"):
            metadata = one.get("metadata") or {}
            metadata.pop("sources", None)
            if not metadata:
                one.pop("metadata", None)

    # ---- sign-in

    def _signed_in(self, request: Request, answer: Response) -> Response:
        if request.path not in ("/token", "/userinfo", "/v1/userinfo") or answer.status != 200:
            return answer
        body = orjson.loads(answer.body)
        if "no_id_token" in self.words:
            body.pop("id_token", None)
        if "no_scope" in self.words:
            body.pop("scope", None)
        if "no_expiry" in self.words:
            body.pop("expires_in", None)
        if "verified_text" in self.words and "email_verified" in body:
            body["email_verified"] = "true"
        return replace(answer, body=orjson.dumps(body))


class StrangePlanfix(PlanfixSimulator):
    words: frozenset[str] = frozenset()

    def handle(self, request: Request) -> Response:
        answer = super().handle(request)
        if answer.status >= 300 or not answer.body:
            return answer
        path = request.path.removeprefix("/rest")
        updated = request.method == "POST" and re.fullmatch(r"/contact/\d+", path)
        if "empty_updates" in self.words and updated and answer.status == 200:
            return replace(answer, body=b"{}")
        body = orjson.loads(answer.body)
        for row in self._rows(body):
            self._change(row)
        if "numbered_filters" in self.words:
            for row in body.get("filters", ()):
                row["id"] = int(row["id"]) if row["id"].isdigit() else row["id"]
                if isinstance(row.get("owner"), dict):
                    row["owner"]["id"] = int(str(row["owner"]["id"]).rpartition(":")[2])
        if "prefixed_users" in self.words:
            for row in body.get("users", ()):
                row["id"] = f"user:{row['id']}"
        if "prefixed_contacts" in self.words and isinstance(body.get("id"), int):
            body["id"] = f"contact:{body['id']}"
        return replace(answer, body=orjson.dumps(body))

    @staticmethod
    def _rows(body: Json) -> list[dict[str, Any]]:
        rows = list(body.get("contacts") or ()) if isinstance(body.get("contacts"), list) else []
        return [*rows, *([body["contact"]] if isinstance(body.get("contact"), dict) else [])]

    def _change(self, row: dict[str, Any]) -> None:
        words = self.words
        for name in [name for name, value in row.items() if name != "id" and value in ("", [], None, False)]:
            if "nulls" in words:
                row[name] = None
            if "absent" in words:
                del row[name]
        if "no_second_emails" in words:
            row.pop("additionalEmailAddresses", None)
        if "no_update_dates" in words:
            row.pop("dateOfLastUpdate", None)
        if "prefixed_contacts" in words:
            row["id"] = f"contact:{row['id']}"
        if "phone_types_as_text" in words:
            for phone in row.get("phones") or ():
                phone["type"] = str(phone["type"])


async def main(port: int, words: frozenset[str]) -> None:
    faults = Faults()
    client = OAuthOptions(
        client_id="simulated-client",
        client_secret="simulated-secret",
        auto_account="employee1@example.com" if "no_page" in words else None,
    )
    StrangeGoogle.words = StrangePlanfix.words = words
    google = StrangeGoogle(time.time, GoogleOptions(), faults, OAuthSimulator(time.time, client))
    async with serve(Simulators(google, StrangePlanfix(time.time, None, faults), faults), "127.0.0.1", port):
        await anyio.sleep_forever()


if __name__ == "__main__":
    given = sys.argv[1:]
    at = given.index("--port")
    anyio.run(main, int(given[at + 1]), frozenset(given[:at] + given[at + 2 :]))
