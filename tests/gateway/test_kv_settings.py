"""Where prefixes are kept besides RAM, as an operator says it."""

import pytest

from gateway.settings import EngineSettings, SettingsError, load_settings


def test_prefixes_are_kept_on_disk_by_default_and_nowhere_else() -> None:
    engine = load_settings({}, environ={}).engine

    assert (engine.kv_disk_mb, engine.kv_redis, engine.kv_codec) == (4096, "", "raw")


def test_the_tiers_are_set_like_everything_else() -> None:
    environ = {
        "TWICETOLD_ENGINE__KV_DISK_MB": "0",
        "TWICETOLD_ENGINE__KV_REDIS": "redis://cache:6379/1",
        "TWICETOLD_ENGINE__KV_CODEC": "int8",
    }
    engine = load_settings({}, environ=environ).engine

    assert (engine.kv_disk_mb, engine.kv_redis, engine.kv_codec) == (0, "redis://cache:6379/1", "int8")


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("KV_CODEC", "zip", "engine.kv_codec must be one of raw, int8"),
        ("KV_DISK_MB", "-1", "engine.kv_disk_mb must be from 0"),
        ("KV_REDIS", "http://somewhere", "engine.kv_redis must be a redis://"),
        ("KV_REDIS", "redis://127.0.0.1:port", "engine.kv_redis must be a redis://"),
        ("KV_REDIS", "redis://127.0.0.1:99999", "engine.kv_redis must be a redis://"),
        ("KV_REDIS", "redis://:p@[::1", "engine.kv_redis must be a redis://"),
    ],
)
def test_a_tier_that_cannot_be_is_refused_by_name(name: str, value: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        load_settings({}, environ={f"TWICETOLD_ENGINE__{name}": value})


def test_exact_numbers_and_int8_are_refused_together() -> None:
    environ = {"TWICETOLD_ENGINE__EXACT": "true", "TWICETOLD_ENGINE__KV_CODEC": "int8"}

    with pytest.raises(SettingsError, match=r"engine\.kv_codec int8 changes bits, which engine\.exact"):
        load_settings({}, environ=environ)


def test_a_password_in_the_address_of_redis_is_never_shown() -> None:
    assert "hunter2" not in repr(EngineSettings(kv_redis="redis://:hunter2@cache:6379"))
    with pytest.raises(SettingsError) as caught:
        load_settings({}, environ={"TWICETOLD_ENGINE__KV_REDIS": "cache:hunter2"})
    assert "hunter2" not in str(caught.value)
