"""Configuration: where it comes from, and how a bad value is refused."""

from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings, SettingsError, load_settings

KEYS = {"required": True}


def loaded(
    flags: dict[str, Any] | None = None, toml: str | None = None, folder: Path | None = None, **env: str
) -> Settings:
    config = None
    if toml is not None:
        assert folder is not None
        config = folder / "twicetold.toml"
        config.write_text(toml)
    return load_settings(flags or {}, config, {name.upper(): text for name, text in env.items()})


def test_the_default_is_the_demo_model_on_loopback() -> None:
    settings = loaded()

    assert (settings.host, settings.port, settings.local_model) == ("127.0.0.1", 8420, "demo")


def test_an_upstream_replaces_the_demo_unless_a_model_is_named() -> None:
    assert loaded({"upstream": "http://localhost:1"}).local_model == ""
    assert loaded({"upstream": "http://localhost:1", "model": "demo"}).local_model == "demo"


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    toml = 'port = 1\nhost = "127.0.0.2"\nmodel = "file"\n[cache]\nmin_similarity = 0.9\nmemory_mb = 5\n'
    settings = loaded(
        {"port": 3, "host": None},
        toml,
        tmp_path,
        twicetold_port="2",
        twicetold_model="env",
        twicetold_cache__memory_mb="7",
    )

    assert (settings.port, settings.model, settings.host) == (3, "env", "127.0.0.2")
    assert (settings.cache.memory_mb, settings.cache.min_similarity) == (7, 0.9)


def test_texts_from_the_environment_become_what_the_field_is() -> None:
    settings = loaded(
        twicetold_cache__semantic="false",
        twicetold_cache__default_ttl_s="1.5",
        twicetold_upstream="http://localhost:1",
        twicetold_upstream_models="a,b",
        twicetold_data_dir="x/y",
    )

    assert settings.cache.semantic is False
    assert settings.cache.default_ttl_s == 1.5
    assert settings.upstream_models == ("a", "b")
    assert settings.data_dir == Path("x/y")


def test_an_empty_optional_number_means_none() -> None:
    assert loaded(twicetold_cache__max_ttl_s="").cache.max_ttl_s is None


def test_the_upstream_key_is_read_from_the_variable_that_is_named_and_never_shown() -> None:
    settings = loaded({"upstream": "http://localhost:1", "api_key_env": "MY_KEY"}, my_key="sk-secret")

    assert settings.upstream_key == "sk-secret"
    assert "sk-secret" not in repr(settings)


def test_models_have_names_and_differ_from_the_engine_where_they_say_so(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    toml = f"""
        model = "demo"
        [engine]
        kv_mb = 100
        [[models]]
        source = "{folder}"
        kv_mb = 7
        [[models]]
        source = "ORG/NAME"
        name = "small"
        dtype = "float32"
        """
    models = loaded({}, toml, tmp_path).local_models

    assert [(one.name, one.source) for one in models] == [
        ("demo", "demo"),
        ("checkpoint", str(folder)),
        ("small", "ORG/NAME"),
    ]
    assert [(one.engine.kv_mb, one.engine.dtype) for one in models] == [(100, "auto"), (7, "auto"), (100, "float32")]


def test_models_replace_the_demo_and_may_be_named_in_the_environment() -> None:
    assert [one.name for one in loaded(twicetold_models="A/B, C/D").local_models] == ["A/B", "C/D"]


def test_the_admin_key_is_read_from_the_variable_that_is_named_and_never_shown() -> None:
    settings = loaded({"admin_key_env": "MY_KEY"}, my_key="s3cret")

    assert settings.admin_key == "s3cret"
    assert "s3cret" not in repr(settings)


def test_the_shared_secret_is_read_from_the_variable_that_is_named_and_never_shown() -> None:
    text = "0123456789abcdef" * 2
    settings = loaded(twicetold_secret_env="TWICETOLD_SECRET", twicetold_secret=text + "\n")

    assert settings.secret == text
    assert text not in repr(settings)


@pytest.mark.parametrize("weak", ["0123456789abcdef", "changeme" + "e" * 30])
def test_a_weak_shared_secret_is_refused_and_not_said(weak: str) -> None:
    with pytest.raises(SettingsError, match="secret_env names the variable MY_SECRET, which holds") as refused:
        loaded({"secret_env": "MY_SECRET"}, my_secret=weak)
    assert weak not in str(refused.value)


BAD: list[tuple[dict[str, Any], dict[str, str], str]] = [
    ({"port": 70000}, {}, "port"),
    ({"port": -1}, {}, "port"),
    ({}, {"twicetold_port": "eight"}, "port"),
    ({}, {"twicetold_prot": "1"}, "prot"),
    ({}, {"twicetold_cache__min_similarity": "2"}, "cache.min_similarity"),
    ({}, {"twicetold_cache__min_similarity": "nan"}, "cache.min_similarity"),
    ({}, {"twicetold_cache__semantic": "maybe"}, "cache.semantic"),
    ({}, {"twicetold_cache": "on"}, "cache"),
    ({}, {"twicetold_engine__dtype": "fp4"}, "engine.dtype"),
    ({}, {"twicetold_upstream_flavour": "vlm"}, "upstream_flavour"),
    ({}, {"twicetold_cache__usage_on_hit": "half"}, "cache.usage_on_hit"),
    ({}, {"twicetold_timeouts__connect_s": "-1"}, "timeouts.connect_s"),
    ({}, {"twicetold_cache__default_ttl_s": "-5"}, "cache.default_ttl_s"),
    ({}, {"twicetold_cache__max_ttl_s": "nan"}, "cache.max_ttl_s"),
    ({}, {"twicetold_cache__memory_mb": "1.9"}, "cache.memory_mb"),
    ({}, {"twicetold_engine__hang_s": "0"}, "engine.hang_s"),
    ({}, {"twicetold_cache__semantic_mode": "loud"}, "cache.semantic_mode"),
    ({}, {"twicetold_cache__max_wrong_hit_rate": "0"}, "cache.max_wrong_hit_rate"),
    ({}, {"twicetold_cache__shadow_rate": "2"}, "cache.shadow_rate"),
    ({"upstream": "http://localhost:1"}, {"twicetold_cache__judge": "local"}, "cache.judge"),
    ({"cache": {"routes": [{"model": "a"}, {"colour": "red"}]}}, {}, r"cache.routes\[1\].colour"),
    ({"cache": {"routes": [{"semantic_mode": "loud"}]}}, {}, r"cache.routes\[0\].semantic_mode"),
    ({}, {"twicetold_cache__semantic_history": "lax"}, "cache.semantic_history"),
    ({}, {"twicetold_cache__semantic_history": "loose"}, "cache.rewriter"),
    ({"cache": {"routes": [{"semantic_history": "lax"}]}}, {}, r"cache.routes\[0\].semantic_history"),
    ({"upstream": "http://localhost:1"}, {"twicetold_cache__rewriter": "local"}, "cache.rewriter"),
    ({"cache": {"routes": [{"max_wrong_hit_rate": 0.9}]}}, {}, r"cache.routes\[0\].max_wrong_hit_rate"),
    ({"cache": {"routes": [{"model": "a"}, {"model": "a"}]}}, {}, r"cache.routes\[1\]"),
    ({"cache": {"routes": "a,b"}}, {}, "cache.routes"),
    ({"cache": {"routes": [{"share_tenants": 2}]}}, {}, r"cache.routes\[0\].share_tenants.*require keys"),
    ({"keys": KEYS, "cache": {"routes": [{"share_tenants": 1}]}}, {}, r"cache.routes\[0\].share_tenants"),
    ({"keys": KEYS, "cache": {"routes": [{"share_tenants": 2, "tenant": "t"}]}}, {}, "nobody to share with"),
    ({"keys": KEYS, "cache": {"routes": [{"share_tenants": 2, "namespace": "a*"}]}}, {}, "is never shared"),
    ({"admin_key_env": "UNSET_KEY"}, {}, "admin_key_env"),
    ({"admin_key": "in the open"}, {}, "admin_key"),
    ({"secret_env": "UNSET_SECRET"}, {}, "secret_env names the variable UNSET_SECRET"),
    ({"secret": "in the open"}, {}, "secret is not a setting"),
    ({"models": "demo,demo"}, {}, "models"),
    ({"models": [{"name": "x"}]}, {}, r"models\[0\].source"),
    ({"models": [{"source": "a/b"}, {"source": "c/d", "kv_gb": 1}]}, {}, r"models\[1\].kv_gb"),
    ({"models": [{"source": "a/b", "kv_mb": -1}]}, {}, r"models\[0\].kv_mb"),
    ({"models": [{"source": 5}]}, {}, r"models\[0\].source"),
    ({"models": 5}, {}, "models"),
    ({"upstream": "localhost:1"}, {}, "upstream"),
    ({"api_key_env": "UNSET_KEY"}, {}, "UNSET_KEY"),
    ({"host": "0.0.0.0"}, {}, "host"),  # noqa: S104 - it must be refused
    ({"host": "example.org"}, {}, "host"),
]


@pytest.mark.parametrize(("flags", "env", "named"), BAD)
def test_a_bad_value_is_refused_and_its_key_is_named(flags: dict[str, Any], env: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load_settings(flags, None, {name.upper(): text for name, text in env.items()})


def test_a_variable_named_in_the_file_or_by_a_flag_as_the_place_of_a_key_is_no_setting(tmp_path: Path) -> None:
    config = tmp_path / "t.toml"
    config.write_text('upstream = "http://localhost:1"\napi_key_env = "TWICETOLD_ITS_KEY"')
    environ = {"TWICETOLD_ITS_KEY": "sk-1", "TWICETOLD_ADMIN": "sk-2"}
    settings = load_settings({"admin_key_env": "TWICETOLD_ADMIN"}, config, environ)

    assert (settings.upstream_key, settings.admin_key) == ("sk-1", "sk-2")


def test_serving_everybody_without_keys_must_be_said() -> None:
    assert loaded({"host": "0.0.0.0", "allow_no_keys": True}).host == "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize(
    "toml",
    [
        "port = ",
        "[cache]\nunknown = 1",
        'port = "x"',
        "cache = 5",
        "port = true",
        "upstream_models = 5",
        "[cache]\nmemory_mb = 1.9",
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, toml: str) -> None:
    with pytest.raises(SettingsError):
        loaded({}, toml, tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        load_settings({}, tmp_path / "nowhere.toml", {})
