"""How the simulated Google decides what its documentation leaves open, and what its limits are.

The defaults are the harsher reading of each open question; `facts` means the project's notes on the People API.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True)
class GoogleOptions:
    """Quotas are per account and minute, 0 means no limit; a control call may change any of them while it runs."""

    seed: int = 1
    list_lag_s: float = 5.0
    """Writes, people's own ones too, appear in both lists only after so long (seen: 5 to 15 s)."""

    critical_reads_per_minute: int = 60
    critical_writes_per_minute: int = 30
    writes_per_minute: int = 30
    group_reads_per_minute: int = 90
    daily_writes: int = 100_000
    full_syncs_per_minute: int = 6
    """First pages of a full listing: a quota of its own, whose size is not published."""
    batch_get_cost: int = 1
    retry_after_s: int | None = None
    """Sent with a 429 when set; no recording shows it."""

    contacts_max: int = 25_000
    trash_counts: bool = True
    trash_days: float = 30.0
    sync_token_days: float = 7.0

    atomic_batches: bool = True
    """False: a batch answers 200 with a status for each item."""
    named_errors: bool = True
    """False: a failed batch does not say which contacts made it fail."""
    shuffle_created: bool = True
    require_contact_source: bool = False
    """True: an update must name the contact source in `metadata.sources`, as the reference has it."""
    group_etag_required: bool = False
    unstructured_name_wins: bool = True
    """Where a body has `unstructuredName` and name parts that differ from it, the parts are parsed from it."""
    organization_dates_fail: bool = True
    profile_every: int = 0
    """Every n-th new contact with an e-mail is linked to a Google profile with values of its own."""
    merge_names_previous: bool = True

    reformat: bool = False
    """Every write is stored the way the server likes it: phones, spaces, case, Unicode form."""
    shuffle_keys: bool = False
    default_region: str = "US"

    concurrent_mutations: Literal["record", "503", "409"] = "record"
    mutation_latency_s: float = 0.0
    """How long `http.py` holds a mutation in flight."""
