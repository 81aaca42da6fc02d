"""The shipped checkpoint as anyone would load it, and the script that made it."""

from collections.abc import Sequence

import pytest
import torch
from tokenizers import Tokenizer

from backends.local.demo import checkpoint_path
from backends.local.demo.dialogs import ASSISTANT, END, SYSTEM, USER
from backends.local.demo.evaluate import (
    Asked,
    Demo,
    Messages,
    corpus_questions,
    elsewhere_questions,
    follow_ups,
    held_out_questions,
    score,
)
from backends.local.demo.questions import DEFAULT_SYSTEM, ELSEWHERE_ANSWER, load_elsewhere, load_items
from backends.local.demo.train import Recipe, train
from backends.local.demo.wordings import plain

ITEMS = load_items()
TINY = Recipe(steps=5, shapes=((192, 4),), hidden_size=64, layers=1, warmup_steps=2)


@pytest.fixture(scope="module")
def demo() -> Demo:
    return Demo(checkpoint_path(), torch.float32)


@pytest.fixture(scope="module")
def demo_bf16() -> Demo:
    return Demo(checkpoint_path(), torch.bfloat16)


def rendered(demo: Demo, messages: Messages, add_generation_prompt: bool = False) -> list[int]:
    text = demo.tokenizer.apply_chat_template(messages, add_generation_prompt=add_generation_prompt, tokenize=False)
    return list(demo.tokenizer(text)["input_ids"])


def every(asked: Sequence[Asked], step: int) -> Sequence[Asked]:
    return asked[::step]


def test_the_checkpoint_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in checkpoint_path().iterdir()) <= 8_000_000


def test_its_own_questions_are_answered_word_for_word(demo: Demo) -> None:
    assert score("corpus", demo, every(corpus_questions(ITEMS), 18)).exact >= 0.95


def test_other_wordings_get_the_fact_right(demo: Demo) -> None:
    assert score("held out", demo, every(held_out_questions(ITEMS), 6)).fact >= 0.80


def test_the_figures_hold_in_bfloat16(demo_bf16: Demo) -> None:
    assert score("corpus", demo_bf16, every(corpus_questions(ITEMS), 40)).exact >= 0.95
    assert score("held out", demo_bf16, every(held_out_questions(ITEMS), 10)).fact >= 0.80


def test_a_follow_up_is_answered_by_its_own_question(demo: Demo) -> None:
    assert score("follow-ups", demo, follow_ups(every(corpus_questions(ITEMS), 48), ITEMS)).exact >= 0.90


def test_anything_else_is_told_what_the_model_is(demo: Demo) -> None:
    assert score("elsewhere", demo, elsewhere_questions()).fact >= 0.80


def test_other_scripts_and_other_wishes_are_told_what_the_model_is(demo: Demo) -> None:
    odd = ("中国的首都是哪里？", "🦊🦊🦊", "write me a poem about the sea")
    assert demo.answers([[{"role": "user", "content": text}] for text in odd]) == [ELSEWHERE_ANSWER] * len(odd)


def test_a_conversation_is_a_token_prefix_of_its_next_turn(demo: Demo) -> None:
    first: Messages = [{"role": "user", "content": "What is a KV cache?"}]
    answer = demo.answers([first])[0]
    after = [*first, {"role": "assistant", "content": answer}, {"role": "user", "content": "And prefix caching?"}]

    prompt = rendered(demo, first, add_generation_prompt=True)
    turn = rendered(demo, after, add_generation_prompt=True)
    said = demo.tokenizer(answer + END)["input_ids"]

    assert turn[: len(prompt) + len(said)] == [*prompt, *said]


def test_the_template_spells_what_was_trained(demo: Demo) -> None:
    messages: Messages = [{"role": "user", "content": "Hi"}]
    text = demo.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == f"{SYSTEM}{DEFAULT_SYSTEM}{END}{USER} hi{END}{ASSISTANT}"


def test_the_default_system_prompt_is_a_prefix_worth_sharing(demo: Demo) -> None:
    assert 20 <= len(demo.tokenizer(DEFAULT_SYSTEM)["input_ids"]) <= 48


def test_parts_of_a_message_render_like_its_text(demo: Demo) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "TTL?"}]}]
    whole = [{"role": "user", "content": "What is TTL?"}]
    template = demo.tokenizer.apply_chat_template
    assert template(parts, tokenize=False) == template(whole, tokenize=False)


@pytest.mark.parametrize("text", ["naïve café", "缓存 🚀", "\x00\x7f\ttab\n\n  lines ", "a" * 500])
def test_any_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = Tokenizer.from_file(str(checkpoint_path() / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_two_runs_with_one_seed_give_the_same_weights() -> None:
    first_tokenizer, first = train(TINY)
    second_tokenizer, second = train(TINY)

    assert first_tokenizer.to_str() == second_tokenizer.to_str()
    again = second.state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in first.state_dict().items())


def test_every_key_fact_is_in_its_own_answer_and_in_no_other() -> None:
    for item in ITEMS:
        assert [other.id for other in ITEMS if item.has_fact(other.answer)] == [item.id]


def test_no_wording_is_asked_twice_or_both_learnt_and_held_out() -> None:
    wordings = [wording for item in ITEMS for wording in (*item.train, *item.held_out)]
    assert len(set(map(plain, wordings))) == len(wordings)


def test_no_question_about_anything_else_is_both_learnt_and_held_out() -> None:
    elsewhere = load_elsewhere()
    assert not set(elsewhere.train) & set(elsewhere.held_out)
