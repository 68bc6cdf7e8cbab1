"""The whole product in one process, with both simulated vendors, in virtual time: what stories are written in.

Real are the four services (as `wiring.py` makes them, under `runtime.ownership`), their clients, quotas, grants and
both simulators. In memory are NATS and the network to the vendors. Time is virtual: it passes in `run_for`, `settle`,
`idle` and `nats_away` alone, everything else happens at one moment. Everything is plain calls in plain tests:

    from whole import World, check

    def test_a_contact_deleted_in_google_stays_deleted() -> None:
        with World() as world:
            office = world.office(contacts=3)           # employee, account, group, filter; enabled and settled
            ann = office.contacts[0]
            world.hands.delete_person(office.account.email, world.person(ann, office.account), ann)
            world.settle()
            assert world.row(office.filter_id, ann)["state"] == "dismissed"
            check(world)                                # every invariant, a quiet cycle included

Making. `World(planfix={…}, google={…}, settings={…}, trace=True)`: fields of the simulators' options, settings
without their prefix; `trace` prints every message and write. `employee`, `account(email)`, `contact(given, family,
**fields of ContactRequest)`, `filter(name, owner, group=… | contacts=[…])`, `office(…)`. `world.planfix` and
`world.google` are the simulators themselves: all their hands (`planfix_hands.py`, `google_hands.py`) and options.

Commands. `enable(filter, account, defaults=…)` is what activation does; `connect`/`revoke(account)`; `sync`, `pause`,
`resume`, `approve(filter)`, `two_way(filter, on)`; any other: `command(Model(request_id=world.request_id(), …))`.

Questions. `status(filter)`, `contacts(filter, state=…)`, `row(filter, contact)`, `query(verb, **arguments)`,
`history(filter, contact)`, `record(filter)` (as stored), `label(filter)`; `person(contact, account)` and
`person_json`; `snapshot()`.

Hands that remember what must not get lost (I3) and explain later states: `world.hands.edit_planfix(email, contact,
field, value)`, `edit_google(email, resource, field, value, contact)` with canonical fields (elements as a tuple of
`Element`), `trash`, `delete_person`. Whoever uses the simulators' hands directly adds, for `check`, what explains the
outcome: `hands.dismissing`, `hands.trashed`, `hands.touched` (people edited by humans), `hands.adopted` (private
people that the sync may adopt); and calls `hands.note_absences()` while a contact is outside its filter.

What goes wrong. `fault(kind, path, times=…, skip=…)` as in `simulators.faults`; `kill(service)` at once,
`kill(service, "before" | "after", "commit state.filter", nth)` around any single step (`process.Life` names them;
requests are `POST /v1/people:createContact`), `restart(*services)`, `stop`, `start`; `lose_answer(service, "commit")`
(done, but not confirmed), `lose_acks`, `nats_away(seconds)`, `replay(n)` (an earlier mailbox message as a new one). A
killed service is up again two seconds later. `mended()` ends all of it.

State. `copy_state()`, `roll_back(saved)`, `lose_state(*prefixes)` between `stop()` and `start()`; `world.server` is
the `MemoryServer`.

Writes. `mark()`, `writes(since)` (each with vendor, method, path, body, status, mask); `idle(cycles)` returns what
quiet cycles wrote: `assert world.idle(5) == []`. `whole.telling` has the harshest vendors (`harsh()`) and words for
both sides.
"""

from .checks import check
from .mishaps import Saved
from .vendors import GoogleAccount
from .world import Office, World

__all__ = ["GoogleAccount", "Office", "Saved", "World", "check"]
