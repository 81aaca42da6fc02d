"""The server's secret outlives the process and is nobody else's."""

from pathlib import Path

import pytest

from gateway.identity.secret import load_secret


def test_the_secret_is_made_once_and_kept_to_its_owner(tmp_path: Path) -> None:
    first = load_secret(tmp_path / "data")

    assert len(first) == 32
    assert load_secret(tmp_path / "data") == first
    assert (tmp_path / "data" / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret"]


def test_two_servers_have_two_secrets(tmp_path: Path) -> None:
    assert load_secret(tmp_path / "a") != load_secret(tmp_path / "b")


def test_a_damaged_secret_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"short")

    with pytest.raises(ValueError, match="5 bytes"):
        load_secret(tmp_path)


def test_servers_that_are_told_one_text_have_one_secret_and_keep_none(tmp_path: Path) -> None:
    text = "of any letters, also these: 密码 and some more"

    assert load_secret(tmp_path / "a", text) == load_secret(tmp_path / "b", text)
    assert load_secret(tmp_path / "a", text) not in (load_secret(tmp_path / "a", text + "."), text.encode()[:32])
    assert len(load_secret(tmp_path / "a", text)) == 32
    assert not list((tmp_path / "a").iterdir())
