"""Secrets at rest, and the keys derived from SECRET_KEYS."""

from __future__ import annotations

import anyio
import pytest
from itsdangerous import BadSignature, URLSafeSerializer

from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.vault import MATCH_KEY, Undecryptable, Vault


def test_any_text_is_a_key_and_the_content_is_not_readable() -> None:
    sealed = Vault(["ключ, any length"]).encrypt(b"refresh")
    assert b"refresh" not in sealed
    assert Vault(["ключ, any length"]).decrypt(sealed) == b"refresh"


def test_after_a_rotation_the_old_key_opens_and_the_new_one_seals() -> None:
    old, both, new = Vault(["a"]), Vault(["b", "a"]), Vault(["b"])
    sealed = old.encrypt(b"x")
    assert both.decrypt(sealed) == b"x"
    with pytest.raises(Undecryptable):
        new.decrypt(sealed)
    assert new.decrypt(both.rotate(sealed)) == b"x"


def test_no_key_is_refused() -> None:
    with pytest.raises(ValueError, match="secret key"):
        Vault(["", "  "])


def test_links_signed_with_an_old_key_stay_good_and_each_purpose_has_its_own_key() -> None:
    signed = URLSafeSerializer(Vault(["a"]).signing_keys("link")).dumps({"filter": "1"})
    assert URLSafeSerializer(Vault(["b", "a"]).signing_keys("link")).loads(signed) == {"filter": "1"}
    for others in (Vault(["b"]).signing_keys("link"), Vault(["a"]).signing_keys("session")):
        with pytest.raises(BadSignature):
            URLSafeSerializer(others).loads(signed)


async def test_replicas_that_start_together_agree_on_the_match_key() -> None:
    server = MemoryServer()
    found: list[bytes] = []

    async def start() -> None:
        found.append(await Vault(["a"]).match_key(MemoryBus(server)))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(start)
    assert len(found) == 5
    assert len(set(found)) == 1
    assert len(found[0]) == 32


async def test_the_match_key_survives_a_rotation() -> None:
    bus = MemoryBus()
    made = await Vault(["a"]).match_key(bus)
    record = await bus.get(MATCH_KEY)
    assert record is not None
    assert made not in record.value
    await Vault(["b", "a"]).reseal_match_key(bus)
    assert await Vault(["b"]).match_key(bus) == made
