"""What is computed ahead is a true beginning of what comes, whatever the caller says next."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.chat import Delta
from backends.local.speech.ahead import after_answer, shared_beginning, to_warm
from backends.local.speech.tokenizer import ChatTokenizer
from tests.backends.local import tiny

Checkpoints = Callable[[str], Path]
SYSTEM = {"role": "system", "content": "Answer in one sentence."}
QUESTION = {"role": "user", "content": "What is a block?"}
PIECES = ({"role": "assistant", "content": ""}, {"content": "A block is "}, {"content": "32 tokens."})
ANSWER = [Delta(0, piece) for piece in PIECES]
NEXT_WORDS = ("a", "And a chain?", "1", " leading space", "缓存", "🙂", "Zebra")
THINKING = tiny.TEMPLATE.replace("{{ message['content'] }}", "{{ message['content'].split('</think>')[-1].strip() }}")


@pytest.fixture(params=["llama", "demo"])
def tokenizer(request: pytest.FixtureRequest, checkpoints: Checkpoints) -> ChatTokenizer:
    return ChatTokenizer(checkpoints(request.param))


@pytest.mark.parametrize("words", NEXT_WORDS)
def test_every_next_turn_begins_with_what_was_looked_ahead(words: str, tokenizer: ChatTokenizer) -> None:
    ahead = after_answer(tokenizer, [SYSTEM, QUESTION], (), ANSWER)

    told = {"role": "assistant", "content": "A block is 32 tokens."}
    turn = tokenizer.encode_chat([SYSTEM, QUESTION, told, {"role": "user", "content": words}])

    assert turn[: len(ahead)] == ahead
    assert len(ahead) > len(tokenizer.encode_chat([SYSTEM, QUESTION])) + 5


@pytest.mark.parametrize("words", NEXT_WORDS)
def test_a_system_prompt_is_warmed_up_to_where_the_caller_begins(words: str, tokenizer: ChatTokenizer) -> None:
    warm = to_warm(tokenizer, [SYSTEM], ())

    chat = tokenizer.encode_chat([SYSTEM, {"role": "user", "content": words}])

    assert chat[: len(warm)] == warm
    assert len(warm) >= 8


def test_messages_that_wait_for_an_answer_are_warmed_whole(tokenizer: ChatTokenizer) -> None:
    assert to_warm(tokenizer, [SYSTEM, QUESTION], ()) == tokenizer.encode_chat([SYSTEM, QUESTION])


def test_thoughts_are_rendered_as_the_template_renders_the_past(tmp_path: Path) -> None:
    tokenizer = _with_template(tmp_path, THINKING)
    said = [Delta(0, {"content": "<think>Hm, blocks.</think>32 tokens.", "reasoning_content": "Hm."})]

    ahead = tokenizer.decode(after_answer(tokenizer, [QUESTION], (), said))

    assert "32 tokens." in ahead
    assert "Hm" not in ahead


def test_a_template_that_knows_no_such_chat_looks_nowhere(tmp_path: Path) -> None:
    tokenizer = _with_template(
        tmp_path, "{{ raise_exception('no') if messages|length > 1 else messages[0]['content'] }}"
    )

    assert after_answer(tokenizer, [QUESTION], (), ANSWER) == []
    assert shared_beginning(tokenizer, [], ()) == []


def test_calls_are_followed_by_what_the_tool_returns(tokenizer: ChatTokenizer) -> None:
    call: dict[str, Any] = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    ahead = after_answer(tokenizer, [QUESTION], (), [Delta(0, {"content": "", "tool_calls": [call]})])

    assert ahead[: len(tokenizer.encode_chat([QUESTION])) - 1] == tokenizer.encode_chat([QUESTION])[:-1]


def _with_template(path: Path, template: str) -> ChatTokenizer:
    tiny.build("llama", path)
    (path / "chat_template.jinja").write_text(template)
    return ChatTokenizer(path)
