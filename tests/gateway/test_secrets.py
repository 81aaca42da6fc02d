"""Secrets come from variables or files, and settings tell nobody what they are."""

from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings, SettingsError, load_settings, read_key

WORD = "Zq7-Xw9-Kd4-Pm2-Rt8-Vn5-Hs3-Jb6-Lc1"


def test_a_key_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{WORD}\n")

    settings = load_settings(
        {"admin_key_env": f"@{tmp_path / 'key'}", "secret_env": f"@{tmp_path / 'key'}"}, environ={}
    )

    assert settings.admin_key == settings.secret == WORD


@pytest.mark.parametrize(
    "raw", [b"", b" \n", WORD.encode() + b"\nmore", b"\xff" + WORD.encode(), b"k" * 70_000], ids=len
)
def test_a_file_that_holds_no_key_stops_the_start_and_is_not_quoted(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "key").write_bytes(raw)

    with pytest.raises(SettingsError, match="admin_key_env names the file") as refused:
        read_key("admin_key_env", f"@{tmp_path / 'key'}")
    assert WORD not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"admin_key_env names the file .*nowhere, which cannot be read"):
        read_key("admin_key_env", f"@{tmp_path / 'nowhere'}")


def test_settings_with_every_secret_tell_none() -> None:
    places = dict.fromkeys(("api_key_env", "admin_key_env", "secret_env"), "THE_KEY")
    backend = {"name": "b", "url": "https://b.example/v1", "api_key_env": "THE_KEY", "headers": {"x-auth": WORD}}
    said: dict[str, Any] = {
        **places,
        "redis": f"redis://:{WORD}@127.0.0.1/0",
        "engine": {"kv_redis": f"redis://:{WORD}@127.0.0.1/1"},
        "backends": [backend],
        "tls": {"cert": "c", "key_password_env": "THE_KEY"},
    }
    settings = load_settings(said, environ={"THE_KEY": WORD})

    assert settings.admin_key == settings.tls.key_password == settings.backends[0].api_key == WORD
    assert WORD not in repr(settings)
    assert WORD not in str(settings)


def test_what_is_read_from_a_secret_place_is_never_in_a_repr() -> None:
    def shown(kind: type[Any]) -> Iterator[str]:
        for one in fields(kind):
            if _is_secret(one.name) and one.repr:
                yield f"{kind.__name__}.{one.name}"
            made = one.default_factory() if one.default_factory is not MISSING else one.default
            if is_dataclass(made):
                yield from shown(type(made))

    assert list(shown(Settings)) == []


def _is_secret(name: str) -> bool:
    return name in ("secret", "redis", "kv_redis") or name.endswith(("_key", "password"))


@pytest.mark.parametrize(
    "said",
    [
        {"redis": [f"redis://:{WORD}@h"]},
        {"redis": f"http://:{WORD}@h"},
        {"engine": {"kv_redis": f"http://:{WORD}@h"}},
        {"engine": {"kv_redis": [f"redis://:{WORD}@h"]}},
        {"redis": f"redis://:{WORD}@h:0"},
        {"upstream": f"https://user:{WORD}@[h"},
        {"upstream": f"ftp://user:{WORD}@h"},
        {"backends": [{"name": "b", "url": "https://b.example", "headers": {"x-auth": f"{WORD}\n"}}]},
        {"backends": [{"name": "b", "url": "https://b.example", "headers": {"x-auth": [WORD]}}]},
        {"oidc": {"issuer": f"https://user:{WORD}@[h", "audience": "a"}},
    ],
    ids=lambda said: "-".join(said),
)
def test_a_setting_of_no_use_is_named_without_the_secret_in_it(said: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(said, environ={})

    assert WORD not in str(refused.value)
