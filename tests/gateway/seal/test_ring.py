"""What a seal promises, with keys and without."""

import pytest

from gateway.seal import NO_SEAL, OVERHEAD_BYTES, Unsealed, is_sealed, place
from gateway.seal.ring import KeyRing, key_of

OLD, NEW = key_of("an old key"), key_of("a new key")
HERE = place("answer", b"scope", "id")


@pytest.mark.parametrize("plain", [b"", b"words", bytes(range(256)) * 300])
def test_what_was_sealed_opens_in_its_place(plain: bytes) -> None:
    sealed = KeyRing([NEW]).seal(plain, HERE)

    assert is_sealed(sealed)
    assert len(sealed) == len(plain) + OVERHEAD_BYTES
    assert not plain or plain not in sealed
    assert KeyRing([NEW]).open(sealed, HERE) == plain


def test_no_two_seals_of_the_same_words_are_alike() -> None:
    ring = KeyRing([NEW])
    assert len({ring.seal(b"words", HERE)[16:] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "elsewhere",
    [place("answer", b"scope", "other"), place("answer", b"scopei", "d"), place("question", b"scope", "id"), b""],
)
def test_what_was_sealed_opens_nowhere_else(elsewhere: bytes) -> None:
    ring = KeyRing([NEW])
    with pytest.raises(Unsealed, match="elsewhere"):
        ring.open(ring.seal(b"words", HERE), elsewhere)


def test_a_changed_bit_anywhere_opens_nothing() -> None:
    ring = KeyRing([NEW])
    sealed = ring.seal(b"words", HERE)
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(Unsealed):
            ring.open(bytes(changed), HERE)
    for length in range(len(sealed)):
        with pytest.raises(Unsealed):
            ring.open(sealed[:length], HERE)


def test_an_old_key_opens_and_the_new_one_seals() -> None:
    before = KeyRing([OLD]).seal(b"words", HERE)
    ring = KeyRing([NEW, OLD])

    assert ring.open(before, HERE) == b"words"
    assert KeyRing([NEW]).open(ring.seal(b"words", HERE), HERE) == b"words"
    with pytest.raises(Unsealed, match=KeyRing([OLD]).name) as told:
        KeyRing([NEW]).open(before, HERE)
    assert told.value.is_foreign


def test_a_word_that_has_to_be_found_stands_there_as_a_token_of_each_key() -> None:
    assert KeyRing([NEW, OLD]).tokens("hr") == KeyRing([NEW]).tokens("hr") + KeyRing([OLD]).tokens("hr")
    assert KeyRing([NEW]).tokens("hr") != KeyRing([NEW]).tokens("it")
    assert "hr" not in KeyRing([NEW]).tokens("hr")[0]


def test_without_a_key_everything_is_as_it_was_and_what_was_sealed_is_not_opened() -> None:
    assert NO_SEAL.open(NO_SEAL.seal(b"words", HERE), HERE) == b"words"
    assert NO_SEAL.tokens("hr") == ("hr",)
    with pytest.raises(Unsealed, match="no key"):
        NO_SEAL.open(KeyRing([NEW]).seal(b"words", HERE), HERE)


def test_no_key_is_ever_shown() -> None:
    assert NEW.hex() not in repr(KeyRing([NEW]))
    assert repr(NEW) not in repr(KeyRing([NEW]))
