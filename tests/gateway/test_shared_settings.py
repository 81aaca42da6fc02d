"""What gateways on one Redis are told, and how that reaches the engine."""

import pytest

from gateway.services.backends import kv_redis_of
from gateway.settings import EngineSettings, Settings, SettingsError, SharedSettings, load_settings

URL = "redis://:hunter2@cache:6379/0"


def test_a_redis_is_named_by_flag_or_variable_and_never_shown() -> None:
    for settings in (load_settings({"redis": URL}, None, {}), load_settings({}, None, {"TWICETOLD_REDIS": URL})):
        assert settings.redis == URL
        assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("redis://cache:6379/0", "redis://:a%2Fb%40%3F%23@cache:6379/0"),
        ("rediss://me@cache/1?cluster=1", "rediss://me:a%2Fb%40%3F%23@cache/1?cluster=1"),
    ],
)
def test_a_password_of_any_characters_comes_from_a_variable(url: str, whole: str) -> None:
    environ = {"TWICETOLD_REDIS": url, "TWICETOLD_REDIS_PASSWORD_ENV": "PLACE", "PLACE": "a/b@?#"}
    assert load_settings({}, None, environ).redis == whole


def test_two_passwords_are_one_too_many() -> None:
    with pytest.raises(SettingsError, match="redis_password_env") as refused:
        load_settings({"redis": URL}, None, {"TWICETOLD_REDIS_PASSWORD_ENV": "PLACE", "PLACE": "hunter3"})
    assert "hunter" not in str(refused.value)


def test_nothing_is_shared_unless_told() -> None:
    settings = load_settings({}, None, {})

    assert settings.redis == ""
    assert settings.shared == SharedSettings()


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("REDIS", "http://cache", "redis must be a redis://, rediss:// or unix:// address"),
        ("REDIS", "redis://:hunter2@cache:port", "redis must be a redis://"),
        ("REDIS", "redis://:hunter2/x@cache:6379/0", "redis_password_env"),
        ("SHARED__ANSWERS_MB", "0", "shared.answers_mb must be from 1"),
        ("SHARED__QUEUE_MB", "-1", "shared.queue_mb must be from 0"),
        ("SHARED__TIMEOUT_S", "0", "shared.timeout_s must be from 0.01"),
        ("SHARED__MB", "1", "mb"),
    ],
)
def test_what_cannot_be_shared_like_that_stops_the_start(name: str, value: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as refused:
        load_settings({}, None, {f"TWICETOLD_{name}": value})

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("own", "expected"), [("", URL), ("off", ""), ("redis://kv:6379", "redis://kv:6379")])
def test_kept_prefixes_go_to_the_same_redis_unless_told_otherwise(own: str, expected: str) -> None:
    assert kv_redis_of(Settings(redis=URL), EngineSettings(kv_redis=own)) == expected
