"""How a key is named: by a variable or a file, never said, and never one that could be guessed."""

from pathlib import Path

import pytest

from gateway.seal import NO_SEAL
from gateway.seal.ring import KeyRing, key_of
from gateway.services.seal import seal_keys_of, seal_of
from gateway.settings import SettingsError, load_settings

KEY, OLD = "c2VhbGVkIHdpdGggYSBrZXkgb2Yga2V5cw==", "YW4gb2xkZXIga2V5IHRoYXQgc3RpbGwgb3BlbnM="


def test_a_key_seals_and_old_ones_still_open(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    said = {"seal": {"key_env": f"@{tmp_path / 'key'}", "old_keys_env": "OLD_KEYS"}}
    settings = load_settings(said, environ={"OLD_KEYS": f" {OLD}, {OLD[::-1]} "})
    seal = seal_of(settings)

    assert isinstance(seal, KeyRing)
    assert seal.keys == (key_of(KEY), key_of(OLD), key_of(OLD[::-1]))
    assert len(seal_keys_of(settings)) == 3
    assert not {*seal.keys} & {*seal_keys_of(settings)}  # engines get keys of their own
    assert KEY not in repr(settings)
    assert OLD not in repr(settings)


def test_old_keys_alone_open_and_seal_nothing() -> None:
    settings = load_settings({"seal": {"old_keys_env": "OLD"}}, environ={"OLD": OLD})
    seal = seal_of(settings)

    assert seal.name == ""
    assert seal.open(KeyRing([key_of(OLD)]).seal(b"words", b"here"), b"here") == b"words"
    assert seal.open(seal.seal(b"words", b"here"), b"here") == b"words"
    assert seal_keys_of(settings) == ()


def test_without_a_key_nothing_is_sealed() -> None:
    assert seal_of(load_settings({}, environ={})) is NO_SEAL


@pytest.mark.parametrize("key", ["short", "a" * 64])
def test_a_key_that_could_be_guessed_stops_the_start_and_is_not_said(key: str) -> None:
    for name in ("key_env", "old_keys_env"):
        with pytest.raises(SettingsError, match=f"seal.{name} names the variable SEAL") as told:
            load_settings({"seal": {name: "SEAL"}}, environ={"SEAL": key})
        assert key not in str(told.value)
