from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backends.chat import ChatRequest
from backends.routing.prompt import CHUNK_BYTES, prompt_of, prompt_of_tokens

LONG = "A caching gateway answers a question asked twice from memory. " * 40


def asking(*texts: str, salt: str = "tenant", **params: Any) -> ChatRequest:
    roles = ("system", "user", "assistant", "user", "assistant", "user")
    messages = tuple({"role": role, "content": text} for role, text in zip(roles, texts, strict=False))
    return ChatRequest("m", messages, params, kv_salt=salt)


def common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def test_the_next_turn_of_a_conversation_begins_with_the_chain_of_the_last() -> None:
    first = prompt_of(asking(LONG, "What is a block table?"))
    second = prompt_of(asking(LONG, "What is a block table?", "A map.", "Of what?"))

    assert second.chunks[: len(first.chunks)] == first.chunks
    assert (second.home, second.opening) == (first.home, first.opening)
    assert (first.is_later, second.is_later) == (False, True)


def test_a_changed_word_changes_the_keys_from_its_chunk_on() -> None:
    one, other = prompt_of(asking(LONG, "What?")), prompt_of(asking(LONG[:640] + "X" + LONG[641:], "What?"))

    assert 9 <= common(one.chunks, other.chunks) <= 10
    assert not set(one.chunks[11:]) & set(other.chunks)


@given(st.text(), st.text(), st.lists(st.text(min_size=40), min_size=1, max_size=4))
def test_tenants_share_no_key(salt: str, other: str, texts: list[str]) -> None:
    one, two = prompt_of(asking(*texts, salt=salt)), prompt_of(asking(*texts, salt=other))

    assert (salt == other) == bool({*one.chunks, one.home, one.opening} & {*two.chunks, two.home, two.opening})


def test_the_clients_key_says_what_belongs_together() -> None:
    one = prompt_of(asking("You count sheep.", "How many?", prompt_cache_key="farm"))
    two = prompt_of(asking("You shear sheep.", "How?", prompt_cache_key="farm"))

    assert one.home == two.home != prompt_of(asking("You count sheep.", "How many?")).home


def test_conversations_under_one_system_prompt_have_openings_of_their_own() -> None:
    one, two = prompt_of(asking(LONG, "What is a lease?")), prompt_of(asking(LONG, "What is a tier?"))

    assert one.home == two.home
    assert one.opening != two.opening


def test_a_request_without_kv_has_no_chain_and_leaves_none() -> None:
    prompt = prompt_of(replace(asking(LONG, "What?"), use_kv=False))

    assert prompt.chunks == ()
    assert not prompt.is_kept
    assert prompt.num_tokens > 500


def test_a_megabyte_of_image_is_not_hashed_chunk_by_chunk() -> None:
    url = "data:image/png;base64," + "A" * 2**20
    message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}

    assert len(prompt_of(ChatRequest("m", (message,))).chunks) * CHUNK_BYTES < 10_000


def test_half_a_surrogate_pair_is_a_prompt_too() -> None:
    assert prompt_of(asking("\ud800" * 100, "What?", tools=[{"type": "\ud800"}])).chunks


def test_known_token_ids_are_keyed_block_by_block() -> None:
    one, two = prompt_of_tokens(range(100), "s", 16), prompt_of_tokens([*range(64), 7, *range(65, 100)], "s", 16)

    assert (len(one.chunks), one.num_tokens, one.chunk_tokens) == (6, 100, 16)
    assert common(one.chunks, two.chunks) == 4
