"""The code of an earlier release, to run beside this one in a rolling upgrade and back."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

REVISION: Final = "66c5b5d4b2b8"
"""The release before this one: the state and the messages of each must be readable to the other."""

ROOT: Final = Path(__file__).resolve().parents[2]


class NotHere(Exception):
    """The revision is not in this clone (a shallow one, or no git)."""


def unpacked(folder: Path, revision: str = REVISION) -> Path:
    """A folder with `services` and `contracts` as they were then. Raises NotHere."""
    target = folder / "former"
    target.mkdir()
    try:
        archive = subprocess.run(
            ["git", "archive", revision, "services", "contracts"], cwd=ROOT, capture_output=True, check=True
        )
    except (subprocess.CalledProcessError, OSError) as error:
        raise NotHere(f"revision {revision} is not in this clone") from error
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive.stdout, check=True)
    return target
