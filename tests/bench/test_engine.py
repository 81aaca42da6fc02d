"""What the engine's benchmarks stand on: prompts of an exact length, weights whose every token can be seen, rows."""

import json
import shutil
from importlib import import_module
from pathlib import Path

import pytest

from backends.local.demo import checkpoint_path
from backends.local.speech.tokenizer import ChatTokenizer
from bench.engine import PARTS
from bench.engine.models import fill_up
from bench.engine.prompts import Prompts, common
from bench.rows import Row


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return Prompts(checkpoint_path())


@pytest.mark.parametrize("num_tokens", [64, 65, 300])
def test_a_prompt_is_as_long_as_asked(prompts: Prompts, num_tokens: int) -> None:
    assert len(prompts.plain(num_tokens, "seed").token_ids) == num_tokens


def test_two_questions_after_a_prefix_share_exactly_the_prefix(prompts: Prompts) -> None:
    system = prompts.prefix(200, "seed")
    one, other = (prompts.ask(system, 264, number) for number in range(2))

    assert len(one.token_ids) == len(other.token_ids) == 264
    assert 200 <= common(one.token_ids, other.token_ids) < 204  # a few words may be the same by chance


def test_a_conversation_grows_to_the_length_asked(prompts: Prompts) -> None:
    history = [*prompts.plain(80, 0).messages, {"role": "assistant", "content": "A block of tokens."}]

    assert len(prompts.extend(history, 400, 1).token_ids) == 400


def test_other_seeds_are_other_words(prompts: Prompts) -> None:
    assert prompts.plain(100, 1).messages != prompts.plain(100, 2).messages
    assert prompts.plain(100, 1).messages == prompts.plain(100, 1).messages


def test_every_token_of_a_filled_vocabulary_has_a_text_and_no_text_is_cut_otherwise(tmp_path: Path) -> None:
    path = shutil.copytree(checkpoint_path(), tmp_path / "filled")
    fill_up(path / "tokenizer.json", 5000)
    filled, demo = ChatTokenizer(path), ChatTokenizer(checkpoint_path())
    chat = [{"role": "user", "content": "what is #4000 of a block?"}]

    assert filled.encode_chat(chat) == demo.encode_chat(chat)
    assert [filled.decode([token]) for token in (3072, 4999)] == [" #3072", " #4999"]


@pytest.mark.parametrize(("one", "other", "shared"), [([1, 2, 3], [1, 2, 4], 2), ([1], [1, 2], 1), ([], [1], 0)])
def test_a_common_beginning_ends_at_the_first_difference(one: list[int], other: list[int], shared: int) -> None:
    assert common(one, other) == shared


@pytest.mark.parametrize("part", PARTS)
def test_every_part_can_be_run(part: str) -> None:
    assert callable(import_module(f"bench.engine.{part}").run)


def test_what_is_not_available_is_a_row_without_a_figure() -> None:
    row = Row("speed", "decode", None, "tok/s", 3.0, "transformers", "not available: no such setting")

    assert row.ratio is None
    assert json.loads(json.dumps(row.as_json()))["value"] is None
