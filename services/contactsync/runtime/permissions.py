"""Who may say and hear what on NATS: a user for each service, one for the operator, one for other teams.

`python -m contactsync.runtime.permissions` prints the part of the server's configuration that says so
(`k8s/nats/users.conf`); the public keys come from the server's environment. A user hears answers in its own inbox
only. What all may read is STATE, where secrets are encrypted; what each may write is its own part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

ANSWERS_MAX: Final = 100
"""Messages in answer to one question."""
ANSWERS_S: Final = 60
REQUESTER: Final = "requester"
OPERATOR: Final = "operator"

_READ_STATE: Final = (
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.MSG.GET.STATE",
    "$JS.API.DIRECT.GET.STATE",
    "$JS.API.CONSUMER.CREATE.STATE.*",
    "$JS.API.CONSUMER.MSG.NEXT.STATE.*",
    "$JS.API.CONSUMER.DELETE.STATE.*",
)
_SERVES: Final = ("$SRV.>",)


@dataclass(frozen=True, slots=True)
class User:
    """prefix: of its inboxes. answers: it may answer questions."""

    prefix: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    answers: bool = False


def inbox_prefix(name: str) -> str:
    """Of a process that calls itself so: nobody else hears what it is answered."""
    return f"_INBOX_{name}"


def _owns(component: str, stream: str) -> tuple[str, ...]:
    """What a replica of a component says to own partitions and work on them."""
    return (
        f"$JS.API.CONSUMER.INFO.{stream}.*",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*",
        f"$JS.API.CONSUMER.RESET.{stream}.*",
        f"$JS.ACK.{stream}.>",
        f"epoch.{component}.*",
        f"lease.{component}.*",
        f"state.fence.{component}.*",
        f"contacts.v1.dead.{component}.*",
    )


def _worker(component: str, stream: str, publish: tuple[str, ...], serves: tuple[str, ...]) -> User:
    """One of the four services that own partitions."""
    heard = (f"epoch.{component}.*", f"lease.{component}.*", *serves, *(_SERVES if serves else ()))
    prefix = inbox_prefix(f"contactsync-{component}")
    return User(prefix, (*_READ_STATE, *_owns(component, stream), *publish), heard, answers=bool(serves))


def users() -> Mapping[str, User]:
    """By name."""
    events = ("$JS.API.DIRECT.GET.EVENTS",)
    people = (
        *_READ_STATE,
        *events,
        "contacts.v1.filter.*.sync",
        "contacts.v1.filter.*.command",
        "contacts.v1.look.planfix",
        "contacts.v1.query.*",
        "quota.>",
        "state.>",
    )
    return {
        "planfix-watcher": _worker(
            "planfix-watcher",
            "LOOK",
            ("contacts.v1.filter.*.planfix", "state.planfix.>", "quota.>"),
            ("contacts.v1.query.*",),
        ),
        "google-watcher": _worker(
            "google-watcher",
            "LOOK",
            ("contacts.v1.filter.*.google", "state.account.>", "state.match_key", "quota.>"),
            ("contacts.v1.query.*",),
        ),
        "reconciler": _worker(
            "reconciler",
            "FILTERS",
            (
                "contacts.v1.look.*",
                "contacts.v1.writer.*.mutate",
                "contacts.v1.event.*",
                "contacts.v1.query.*",
                "state.filter.>",
                "state.match_key",
                "history.>",
            ),
            ("contacts.v1.query.*",),
        ),
        "writer": _worker(
            "writer",
            "WRITER",
            (
                "contacts.v1.filter.*.settled",
                "contacts.v1.look.planfix",
                "state.account.>",
                "state.planfix.>",
                "quota.>",
            ),
            (),
        ),
        "gateway": User(
            inbox_prefix("contactsync-gateway"),
            (*people, "$JS.API.CONSUMER.INFO.*.*", "$JS.API.DIRECT.GET.DEAD", "$JS.API.STREAM.MSG.DELETE.DEAD"),
            ("contacts.v1.event.*", "contacts.v1.query.*", *_SERVES),
            answers=True,
        ),
        OPERATOR: User(
            inbox_prefix("contactsync-cli"),
            ("$JS.API.>", "contacts.v1.>", "state.>", "history.>", "quota.>"),
            ("contacts.v1.event.*",),
        ),
        REQUESTER: User(
            inbox_prefix("contactsync-requester"), ("contacts.v1.filter.*.sync",), ("contacts.v1.event.*",)
        ),
    }


def variable(name: str) -> str:
    """Of the server's environment that holds a user's public key."""
    return f"NKEY_{name.upper().replace('-', '_')}"


def rendered() -> str:
    """The accounts of a server's configuration."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Written by `python -m contactsync.runtime.permissions`: change that module, not this file."
    yield "# Public keys come from the server's environment (NKEY_RECONCILER=U...)."
    yield "accounts {"
    yield "  CONTACTSYNC {"
    yield "    jetstream: enabled"
    yield "    users: ["
    for name, user in users().items():
        yield f"      # {name}"
        yield f"      {{ nkey: ${variable(name)}"
        yield "        permissions {"
        yield from _list("publish", user.publish)
        yield from _list("subscribe", (f"{user.prefix}.>", *user.subscribe))
        if user.answers:
            yield f'          allow_responses: {{ max: {ANSWERS_MAX}, expires: "{ANSWERS_S}s" }}'
        yield "        } }"
    yield "    ]"
    yield "  }"
    yield f"  SYS {{ users: [ {{ nkey: ${variable('sys')} }} ] }}"
    yield "}"
    yield "system_account: SYS"


def _list(name: str, subjects: tuple[str, ...]) -> Iterator[str]:
    yield f"          {name}: ["
    yield from (f'            "{subject}"' for subject in subjects)
    yield "          ]"


if __name__ == "__main__":
    print(rendered(), end="")
