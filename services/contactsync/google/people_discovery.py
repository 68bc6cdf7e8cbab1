"""The part of the People API that we call, as aiogoogle wants it: a discovery document of our own.

Shipped beside this module, so that no start needs the network; `tests/conformance/test_google_discovery.py` holds
it against Google's full document. `client.py` builds its requests from it.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

from aiogoogle.resource import GoogleAPI


def document() -> dict[str, Any]:
    """A fresh copy: aiogoogle changes what it is given."""
    loaded: dict[str, Any] = json.loads(
        files("contactsync.google").joinpath("people.v1.json").read_text(encoding="utf-8")
    )
    return loaded


@lru_cache(maxsize=8)
def people_api(root_url: str) -> Any:
    """aiogoogle's builder of requests for this root. It never validates: its validator refuses every
    batchUpdateContacts (aiogoogle 5.19) and takes 14 ms for a full batch."""
    doc = document()
    doc["rootUrl"] = root_url.rstrip("/") + "/"
    build: Any = GoogleAPI
    return build(doc, validate=False)
