"""What goes wrong in a world: kills, restarts, faults, lost answers, replays, lost state."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from contactsync.runtime.bus import Put
from contactsync.runtime.memory_server import Value
from contactsync.simulators.faults import Fault

from .ground import Ground
from .process import Point
from .system import SERVICES, Incarnation, Published, mail, settings_of

LABEL_LAG_S = 60.0


@dataclass(slots=True)
class Saved:
    """The server's state at a moment (`World.copy_state`)."""

    values: dict[str, Value]


class Mishaps(Ground):
    # ---- services

    def start(self) -> None:
        """All services that do not run."""
        self._start(SERVICES)

    def _start(self, names: Sequence[str]) -> None:
        self._inside(lambda: [self.system.start(name) for name in names if name not in self.system.running])

    def kill(
        self, service: str, when: Literal["now", "before", "after"] = "now", what: str = "", nth: int = 1
    ) -> None:
        """`kill -9` now, or before or after the n-th next step whose name matches `what` (see `process.Life`).

        A killed service starts again two seconds later (`system.supervised = False` switches that off).
        """
        if when == "now":
            self._inside(lambda: self.system.kill(service))
        else:
            self.system.points[service].append(Point(what, nth, when))

    def beside(self, service: str) -> Incarnation:
        """A second replica comes up; the first, which lives on and is not started again when it dies."""
        made: list[Incarnation] = []
        self._inside(lambda: made.append(self.system.beside(service)))
        return made[0]

    def put_to_sleep(self, service: str, what: str, seconds: float, nth: int = 1) -> Point:
        """The service's machine stands still before the n-th next step whose name matches; see `Point.hits`."""
        point = Point(what, nth, "asleep", seconds)
        self.system.points[service].append(point)
        return point

    def lose_answer(self, service: str, what: str = "commit|publish", nth: int = 1) -> None:
        """The n-th next matching step on NATS takes effect, but the service is told that there was no answer."""
        self.system.points[service].append(Point(what, nth, "lost"))

    def lose_acks(self, service: str, count: int = 1) -> None:
        """The next acknowledgements get lost: those messages come again."""
        if (one := self.system.running.get(service)) is not None:
            one.bus.acks_to_lose += count

    def restart(self, *services: str, settings: Mapping[str, str] | None = None) -> None:
        """In order (SIGTERM), and up again at once; all of them by default."""
        names = services or SERVICES
        if settings is not None:
            self.settings = self.system.settings = settings_of(settings)
        for name in names:
            self.stop(name)
        self._start(names)

    def stop(self, *services: str) -> None:
        for name in services or SERVICES:
            self.run(self.system.stop(name))

    def nats_away(self, seconds: float) -> None:
        """NATS cannot be reached for a while, then it is back with everything."""
        self._inside(self.server.disconnect)
        self.run_for(seconds)
        self._inside(self.server.reconnect)

    # ---- faults

    def fault(self, kind: str, path: str = "", *, times: int | None = 1, **more: Any) -> Fault:
        """A fault of the network or a vendor, as in `simulators.faults.Fault`; `path` is searched in the path."""
        return self.faults.add(Fault(kind=kind, path=path, times=times, **more))

    def mended(self) -> None:
        """No fault and no kill is planned any more, NATS is there, everything runs."""
        self.faults.clear()
        for points in self.system.points.values():
            points.clear()
        for one in self.system.running.values():
            one.bus.acks_to_lose = 0
        if not self.server.reachable:
            self._inside(self.server.reconnect)
        self.run_for(3 * LABEL_LAG_S)
        self.start()

    def replay(self, place: int, kind: str = "") -> Published | None:
        """Publish an earlier message of a filter's mailbox again as a new one; `place` from the newest, 0 on."""
        fits = [
            one
            for one in self.server.published
            if one.subject.endswith(kind) and one.subject.rsplit(".", 1)[1] in ("google", "planfix", "settled")
        ]
        if not fits:
            return None
        self._replays += 1
        chosen = fits[-1 - place % len(fits)]
        subject, data, headers = mail(chosen, self._replays)
        self._inside(lambda: self.server.store(subject, data, headers))
        return chosen

    # ---- the state

    def copy_state(self) -> Saved:
        return Saved(copy.copy(self.server.values))

    def roll_back(self, saved: Saved, keep: Sequence[str] = ("epoch.", "lease.")) -> None:
        """State as it was at `saved` (stop the services first); keys beginning with `keep` stay as they are."""
        kept = {key: value for key, value in self.server.values.items() if key.startswith(tuple(keep))}
        old = {key: value for key, value in saved.values.items() if not key.startswith(tuple(keep))}
        self.server.values = {**old, **kept}

    def lose_state(self, *prefixes: str) -> int:
        """Keys beginning so are gone (all without a prefix); how many (stop the services first)."""
        gone = [key for key in self.server.values if not prefixes or key.startswith(prefixes)]
        self._inside(lambda: [self.server.put(Put(key, None)) for key in gone])
        return len(gone)
