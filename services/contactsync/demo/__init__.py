"""`contactsync demo`: the main job, with nothing configured, as a user would see it.

The world (`world.py`) is made of the same programs that are shipped: `simulate` and `up` as child processes. The
story (`story.py`) uses them from outside: the activation route, NATS, the simulators' controls. The report
(`report.py`) says what happened and holds the invariants against the simulators' contents.
"""

from contactsync.demo.story import run

__all__ = ["run"]
