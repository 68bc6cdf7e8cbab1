"""Settings come from the environment and `.env`, strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from contactsync.runtime.settings import PREFIX, Settings, SettingsError, load_settings


def load(**variables: str) -> Settings:
    return load_settings({PREFIX + name: value for name, value in variables.items()}, None)


def problems(**variables: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(**variables)
    return caught.value.problems


def test_nothing_set_gives_the_documented_defaults() -> None:
    settings = load()
    assert settings.nats_url is None
    assert settings.planfix_requests_per_day == 20_000
    assert settings.google_people_url == "https://people.googleapis.com/"
    assert settings.first_sync == "auto"
    assert settings.bind == ("127.0.0.1", 8080)
    assert [settings.metrics_port_of(name) for name in ("up", "planfix-watcher", "gateway")] == [9100, 9101, 9105]
    assert settings.new_contact.supervisor == "owner"


def test_an_unknown_variable_stops_with_the_nearest_name() -> None:
    (line,) = problems(PLANFIX_TOKN="x")
    assert line.startswith("CONTACTSYNC_PLANFIX_TOKN: there is no such setting")
    assert "CONTACTSYNC_PLANFIX_TOKEN=" in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PLANFIX_URL", "acme.planfix.com/rest"),
        ("PLANFIX_URL", "ftp://acme.planfix.com"),
        ("PLANFIX_URL", "https://user:pass@acme.planfix.com/rest/"),
        ("PLANFIX_REQUESTS_PER_DAY", "many"),
        ("PLANFIX_REQUESTS_PER_SECOND", "-1"),
        ("PLANFIX_REQUESTS_PER_SECOND", "nan"),
        ("PLANFIX_TIMEZONE", "Mars/Olympus"),
        ("PLANFIX_STAMP_FIELD", "0"),
        ("POLL_GOOGLE_SECONDS", "0"),
        ("GOOGLE_ALLOWED_DOMAINS", "acme"),
        ("FIRST_SYNC", "later"),
        ("CONFLICT", "oldest"),
        ("BREAKER_REMOVE", "10"),
        ("BREAKER_UPDATE", "ten,30"),
        ("BREAKER_CREATE", "100,-5"),
        ("HISTORY_DAYS", "0"),
        ("HTTP_BIND", "8080"),
        ("SECRET_KEYS", "short"),
        ("NEW_CONTACT_FIELDS", "[1]"),
        ("NEW_CONTACT_FIELDS", '{"ten": "x"}'),
        ("NEW_CONTACT_SUPERVISOR", "boss"),
        ("CUSTOM_FIELDS", "{not json"),
        ("CUSTOM_FIELDS", '{"1": "Same", "2": "Same"}'),
        ("DEFAULT_REGION", "Germany"),
        ("LOG_LEVEL", "loud"),
        ("METRICS_PORT", "70000"),
        ("NATS_URL", "127.0.0.1:4222"),
    ],
)
def test_a_malformed_value_is_named_with_an_example(name: str, value: str) -> None:
    (line,) = problems(**{name: value})
    assert line.startswith(f"CONTACTSYNC_{name}: ")
    assert f"; example: CONTACTSYNC_{name}=" in line


def test_every_problem_has_its_own_line() -> None:
    assert len(problems(PLANFIX_URL="x", METRICS_PORT="x", NO_SUCH="x")) == 3


def test_every_example_is_itself_valid() -> None:
    for name, info in Settings.model_fields.items():
        assert info.examples, name
        load(**{name.upper(): str(info.examples[0])})


def test_an_empty_value_counts_as_not_set() -> None:
    assert load(PLANFIX_TIMEZONE="", CUSTOM_FIELDS=" ").planfix_timezone is None


def test_only_what_is_given_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CONTACTSYNC_DEFAULT_REGION=DE\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONTACTSYNC_LOG_LEVEL", "debug")
    settings = load_settings({}, None)
    assert (settings.default_region, settings.log_level) == ("US", "info")
    assert load_settings({"CONTACTSYNC_DEFAULT_REGION": ""}).default_region == "US", "emptied is not set"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        load().log_level = "debug"  # type: ignore[misc]


def test_a_secret_is_not_in_repr_nor_in_a_problem() -> None:
    secret = "very-secret-very-secret-very-secret"
    assert secret not in repr(load(PLANFIX_TOKEN=secret, SECRET_KEYS=f"{secret},{secret}2"))
    assert "kleine" not in str(SettingsError(problems(SECRET_KEYS="kleine")))


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# note\nexport CONTACTSYNC_DEFAULT_REGION=DE\nCONTACTSYNC_LOG_LEVEL='debug'\nOTHER=1\n")
    settings = load_settings({"CONTACTSYNC_LOG_LEVEL": "error"}, file)
    assert (settings.default_region, settings.log_level) == ("DE", "error")


def test_unknown_names_and_broken_lines_of_the_file_are_problems(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("CONTACTSYNC_NOPE=1\nCONTACTSYNC_PLANFIX_TOKEN\n")
    with pytest.raises(SettingsError) as caught:
        load_settings({}, file)
    assert len(caught.value.problems) == 2
    assert ".env line 2" in str(caught.value)


def test_kubernetes_service_announcements_are_no_settings() -> None:
    load(
        NATS_SERVICE_HOST="10.0.0.1",
        NATS_SERVICE_PORT_CLIENT="4222",
        NATS_PORT="tcp://10.0.0.1:4222",
        NATS_PORT_4222_TCP_ADDR="10.0.0.1",
        METRICS_PORT="tcp://10.0.0.1:9100",
        SHARED="somewhere",
    )


@pytest.mark.parametrize(
    ("url", "account"),
    [
        ("https://Acme.Planfix.com/rest/", "acme.planfix.com"),
        ("https://acme.planfix.com/rest", "acme.planfix.com"),
        ("https://crm.example.org/planfix/rest/", "crm.example.org-planfix"),
        ("http://127.0.0.1:8123/rest/", "127.0.0.1"),
    ],
)
def test_the_account_of_a_stamp_is_stable(url: str, account: str) -> None:
    assert load(PLANFIX_URL=url).planfix_account == account


def test_a_public_address_listens_everywhere_unless_told() -> None:
    assert load(PUBLIC_URL="https://sync.acme.com").bind == ("0.0.0.0", 8080)
    assert load(PUBLIC_URL="https://sync.acme.com", HTTP_BIND="127.0.0.1:9000").bind == ("127.0.0.1", 9000)
    assert load(PUBLIC_URL="http://localhost:8123").bind == ("localhost", 8123)


def test_what_a_command_needs_and_is_not_set_is_named() -> None:
    with pytest.raises(SettingsError, match="CONTACTSYNC_PLANFIX_TOKEN"):
        load(PLANFIX_URL="https://acme.planfix.com/rest").planfix_access()
