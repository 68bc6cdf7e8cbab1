"""As whom a process connects to NATS."""

from __future__ import annotations

from pathlib import Path

import pytest

from contactsync.runtime.settings import Settings, SettingsError
from contactsync.wiring import link_settings

SEED = "SUAMQEPPIQHE4NYB53Z7OPVOYOGXVYKTTSFZ4PDUHTV7WZCKCEZB7A4IVM"


def settings_with(creds: Path) -> Settings:
    return Settings({"CONTACTSYNC_NATS_CREDS": str(creds)})


def test_a_file_with_nothing_but_a_seed_is_a_key(tmp_path: Path) -> None:
    (tmp_path / "seed").write_text(f"{SEED}\n")
    link = link_settings(settings_with(tmp_path / "seed"), "nats://127.0.0.1:1", "contactsync-writer")
    assert (link.nkey_seed, link.creds, link.inbox_prefix) == (SEED, None, "_INBOX_contactsync-writer")


def test_any_other_file_is_handed_on_as_credentials(tmp_path: Path) -> None:
    (tmp_path / "user.creds").write_text("-----BEGIN NATS USER JWT-----\n")
    link = link_settings(settings_with(tmp_path / "user.creds"), "nats://127.0.0.1:1", "contactsync-writer")
    assert (link.nkey_seed, link.creds) == (None, str(tmp_path / "user.creds"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"CONTACTSYNC_NATS_CREDS: .*missing.* cannot be read"):
        link_settings(settings_with(tmp_path / "missing"), "nats://127.0.0.1:1", "contactsync-writer")
