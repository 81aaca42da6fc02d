"""The server's secret outlives the process and is nobody else's."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.identity.secret import SecretLocked, load_secret
from gateway.seal import NO_SEAL, Seal
from gateway.seal.ring import KeyRing, Opening, key_of


def test_the_secret_is_made_once_and_kept_to_its_owner(tmp_path: Path) -> None:
    first = load_secret(tmp_path / "data")

    assert len(first) == 32
    assert load_secret(tmp_path / "data") == first
    assert (tmp_path / "data" / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret"]


def test_processes_of_one_number_that_start_on_one_folder_at_once_agree(tmp_path: Path) -> None:
    """As in containers with one volume; threads have one number, too."""
    for number in range(20):
        with ThreadPoolExecutor(8) as starts:
            found = set(starts.map(load_secret, [tmp_path / str(number)] * 8))
        assert len(found) == 1
        assert [path.name for path in (tmp_path / str(number)).iterdir()] == ["secret"]


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


ONE, TWO = KeyRing([key_of("one")]), KeyRing([key_of("two")])


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_seal_takes_in_the_secret_that_was_there(tmp_path: Path) -> None:
    secret = load_secret(tmp_path)

    assert load_secret(tmp_path, seal=ONE) == secret
    assert list(files(tmp_path)) == [f"secret.{ONE.name}"]
    assert secret not in files(tmp_path)[f"secret.{ONE.name}"]
    assert load_secret(tmp_path, seal=ONE) == secret


def test_a_new_key_takes_over_from_an_old_one_and_so_does_none(tmp_path: Path) -> None:
    secret = load_secret(tmp_path, seal=ONE)

    assert load_secret(tmp_path, seal=KeyRing([*TWO.keys, *ONE.keys])) == secret
    assert list(files(tmp_path)) == [f"secret.{TWO.name}"]
    assert load_secret(tmp_path, seal=Opening(TWO)) == secret
    assert list(files(tmp_path)) == ["secret"]


@pytest.mark.parametrize("other", [TWO, NO_SEAL, Opening(TWO)])
def test_without_its_key_there_is_no_start_and_no_other_secret_until_somebody_removes_it(
    tmp_path: Path, other: Seal
) -> None:
    secret, before = load_secret(tmp_path, seal=ONE), files(tmp_path)

    with pytest.raises(SecretLocked, match=rf"the key {ONE.name}, which is not given: name it in seal.key_env"):
        load_secret(tmp_path, seal=other)
    assert files(tmp_path) == before
    assert load_secret(tmp_path, seal=ONE) == secret
    (tmp_path / f"secret.{ONE.name}").rename(tmp_path / "secret.lost")
    assert load_secret(tmp_path, seal=other) != secret


def test_two_different_secrets_stop_the_start_and_a_takeover_that_was_broken_off_is_finished(tmp_path: Path) -> None:
    secret = load_secret(tmp_path, seal=ONE)
    (tmp_path / "secret").write_bytes(bytes(range(32)))

    with pytest.raises(SecretLocked, match="are different secrets"):
        load_secret(tmp_path, seal=ONE)
    (tmp_path / "secret").write_bytes(secret)
    assert load_secret(tmp_path, seal=ONE) == secret
    assert list(files(tmp_path)) == [f"secret.{ONE.name}"]
