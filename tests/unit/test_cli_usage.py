"""The command line without any service: usage, settings, exit codes, files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from contactsync.__main__ import WORDS
from contactsync.cli import cli
from contactsync.cli_decide import decision_of
from contactsync.cli_history import target_of
from contactsync.cli_run import with_secret_keys
from contactsync.runtime.settings import load_settings

WORDS_OF_THE_INTERFACE = {
    "demo",
    "up",
    "run",
    "provision",
    "simulate",
    "dead",
    "doctor",
    "filters",
    "status",
    "contacts",
    "history",
    "undo",
    "export",
    "link",
    "sync",
    "set",
    "pause",
    "resume",
    "contracts",
    "decide",
    "restore",
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env` and no settings of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CONTACTSYNC_")]:
        monkeypatch.delenv(name)


def called(*words: str, **settings: str) -> Result:
    return CliRunner().invoke(cli, words, env={f"CONTACTSYNC_{name}": value for name, value in settings.items()})


def test_every_word_of_the_interface_is_there_and_explains_itself() -> None:
    assert WORDS
    assert set(cli.commands) >= WORDS_OF_THE_INTERFACE
    for word in WORDS_OF_THE_INTERFACE:
        result = called(word, "--help")
        assert result.exit_code == 0
        assert "Usage:" in result.output


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("link",),
        ("run", "nonsense"),
        ("set", "1"),
        ("set", "1", "--new-contact-field", "x"),
        ("set", "1", "--new-contact-supervisor", "boss"),
        ("contacts", "1", "--state", "nonsense"),
        ("link", "1", "--user", "0"),
        ("decide", "1"),
        ("decide", "1", "12"),
        ("decide", "1", "12", "same"),
        ("decide", "1", "12", "same", "13"),
        ("decide", "1", "people/c1", "same", "people/c2"),
        ("decide", "1", "nobody", "new"),
        ("decide", "1", "--all", "separate"),
        ("decide", "1", "new"),
        ("restore", "1", "x"),
    ],
)
def test_wrong_usage_exits_2(words: tuple[str, ...]) -> None:
    result = called(*words)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_each_wrong_setting_is_one_line_on_standard_error_and_exit_2() -> None:
    result = called("status", LOG_LEVEL="loud", PLANFIX_ULR="https://acme.planfix.com/rest/")
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert all("example: CONTACTSYNC_" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "every", "said"),
    [
        (("12", "same", "people/c3"), False, {"decision": "same", "contact": 12, "person": "people/c3"}),
        (("people/c3", "same", "12"), False, {"decision": "same", "contact": 12, "person": "people/c3"}),
        (("12", "new"), False, {"decision": "new", "contact": 12}),
        (("people/c3", "separate"), False, {"decision": "separate", "person": "people/c3"}),
        (("new",), True, {"decision": "new"}),
    ],
)
def test_a_decision_names_the_contact_and_the_person(
    words: tuple[str, ...], every: bool, said: dict[str, object]
) -> None:
    assert decision_of(words, every=every) == said


@pytest.mark.parametrize("words", [("up",), ("run", "gateway"), ("run", "writer")])
def test_a_service_names_the_settings_that_it_lacks(words: tuple[str, ...]) -> None:
    result = called(*words, NATS_URL="nats://127.0.0.1:9")
    assert result.exit_code == 2
    assert "CONTACTSYNC_PLANFIX_TOKEN" in result.stderr
    assert "CONTACTSYNC_GOOGLE_CLIENT_ID" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("filters",),
        ("sync", "1"),
        ("link", "1"),
        ("pause", "1"),
        ("provision",),
        ("contacts", "1"),
        ("decide", "1", "--all", "new"),
        ("restore", "1"),
    ],
)
def test_without_a_known_server_the_exit_is_3_and_says_what_to_do(words: tuple[str, ...]) -> None:
    result = called(*words)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "CONTACTSYNC_NATS_URL" in result.stderr
    assert "contactsync up" in result.stderr


def test_the_file_of_a_dead_up_is_not_believed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / "runtime.json").write_text(json.dumps({"nats_url": "nats://127.0.0.1:9", "pid": ended.pid}))
    result = called("status", DATA_DIR=str(tmp_path))
    assert result.exit_code == 3
    assert "127.0.0.1:9" not in result.stderr


def test_contracts_are_written_and_checked(tmp_path: Path) -> None:
    place = ("--directory", str(tmp_path / "contracts"))
    missing = called("contracts", "--check", *place)
    assert missing.exit_code == 1
    assert "asyncapi.yaml" in missing.stderr
    assert called("contracts", *place).exit_code == 0
    assert called("contracts", "--check", *place).exit_code == 0
    changed = tmp_path / "contracts" / "schemas" / "SyncRequest.v1.json"
    changed.write_text(changed.read_text() + "\n")
    again = called("contracts", "--check", *place)
    assert again.exit_code == 1
    assert "SyncRequest.v1.json" in again.stderr
    assert "asyncapi.yaml" not in again.stderr


def test_a_secret_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    settings = load_settings({"CONTACTSYNC_DATA_DIR": str(tmp_path / "data")}, dotenv=None)
    first, second = with_secret_keys(settings), with_secret_keys(settings)
    assert first.secret_keys == second.secret_keys
    assert len(first.secret_keys[0].get_secret_value()) == 64
    assert (tmp_path / "data" / "secret_keys").stat().st_mode & 0o777 == 0o600


def test_given_secret_keys_are_used_and_nothing_is_written(tmp_path: Path) -> None:
    env = {"CONTACTSYNC_DATA_DIR": str(tmp_path / "data"), "CONTACTSYNC_SECRET_KEYS": "k" * 32}
    settings = load_settings(env, dotenv=None)
    assert with_secret_keys(settings) is settings
    assert not (tmp_path / "data").exists()


def test_the_program_itself_answers_and_exits_with_its_codes() -> None:
    version = subprocess.run([sys.executable, "-m", "contactsync", "--version"], capture_output=True, text=True)
    assert version.returncode == 0
    assert "contactsync" in version.stdout
    wrong = subprocess.run([sys.executable, "-m", "contactsync", "nonsense"], capture_output=True, text=True)
    assert wrong.returncode == 2


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (("4115:17.3",), ("4115", "17.3")),
        (("4115", "17.3"), ("4115", "17.3")),
        (("4115", "4115:17.3"), ("4115", "17.3")),
        (("a:b:17.3",), ("a:b", "17.3")),
    ],
)
def test_an_entry_is_named_as_it_is_printed_or_after_its_filter(
    words: tuple[str, ...], target: tuple[str, str]
) -> None:
    assert target_of(words, None) == target


@pytest.mark.parametrize(
    "words",
    [(), ("17.3",), ("4115:17",), ("4115:x.y",), ("4115", "4116:17.3"), ("1", "2", "3"), ("1", "1.1", "--run", "r")],
)
def test_an_undo_of_nothing_that_can_be_named_is_a_wrong_usage(words: tuple[str, ...]) -> None:
    assert called("undo", *words).exit_code == 2


def test_a_run_is_taken_back_with_or_without_its_filter() -> None:
    assert target_of((), "r") == (None, None)
    assert target_of(("4115",), "r") == ("4115", None)
