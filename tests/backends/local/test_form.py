"""What a request asks of its answer's form, with templates and tokens of models that were taught to call tools."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tokenizers import AddedToken
from transformers import AutoTokenizer

from backends.chat import ChatRequest, Completion, collect
from backends.local.backend import LocalBackend
from backends.local.params import read_params
from backends.local.settings import LocalSettings
from backends.local.speech.form import grammar_of, manner_of
from backends.local.speech.parts import Manner
from backends.local.speech.tokenizer import ChatTokenizer
from backends.local.speech.tools import HERMES, MISTRAL
from tests.backends.local.tiny import build

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 5}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
NEWS = {"type": "function", "function": {"name": "news"}}
FLAG = {"type": "json_schema", "json_schema": {"name": "flag", "schema": {"type": "boolean"}}}
QWEN = (
    "{% if tools %}<|im_start|>system\n<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>"
    "Answer with <tool_call> and </tool_call>.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}{# <think></think> #}"
)
MARKERS = ("<tool_call>", "</tool_call>", "<think>", "</think>", "[TOOL_CALLS]")


def checkpoint(path: Path, template: str, *, special: bool) -> Path:
    """A tiny model with tokens of their own for the markers, and a template."""
    build("qwen2", path, vocab_size=512)  # more logits than tokens, as models are padded
    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    tokenizer.add_tokens([AddedToken(marker, special=special) for marker in MARKERS])
    tokenizer.chat_template = template
    tokenizer.save_pretrained(path)
    return path


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[LocalBackend]:
    budgets: dict[str, Any] = {"kv_budget_bytes": 8 << 20, "slab_budget_bytes": 32 << 20, "threads": 1}
    local = LocalBackend(path, served_name="tiny", settings=LocalSettings(secret=b"secret", **budgets))
    await local.open()
    try:
        yield local
    finally:
        await local.close()


async def complete(backend: LocalBackend, **params: Any) -> Completion:
    request = ChatRequest("tiny", ({"role": "user", "content": "Rain?"},), {"max_tokens": 400, **params})
    return collect([delta async for delta in backend.stream(request)])


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize(
    "template", [QWEN, QWEN.replace("<tool_call>", "[TOOL_CALLS]"), QWEN.replace("tool_call", "t")]
)
async def test_a_model_calls_in_the_form_it_was_taught(template: str, special: bool, tmp_path: Path) -> None:
    async with opened(checkpoint(tmp_path, template, special=special)) as backend:
        for seed in range(3):
            luck: dict[str, Any] = {"temperature": 1.0, "seed": seed, "n": 2, "logprobs": True}
            one = {"parallel_tool_calls": False}  # random weights would call on and on
            forced = await complete(backend, tools=[WEATHER, NEWS], tool_choice="required", **one, **luck)
            either = await complete(backend, tools=[WEATHER], response_format=FLAG, **one, **luck)

            for choice in (*forced.choices, *either.choices):
                calls = [call["function"] for call in choice.message.get("tool_calls", ())]
                for call in calls:
                    schema = PARAMETERS if call["name"] == "weather" else {"maxProperties": 0}
                    jsonschema.validate(json.loads(call["arguments"]), schema)
                assert choice.finish_reason == ("tool_calls" if calls else "stop")
                assert choice.message["content"] in ((None,) if calls else ("true", "false"))
                assert choice.logprobs is not None
            assert all(choice.message.get("tool_calls") for choice in forced.choices)


def read(path: Path, **params: Any) -> tuple[str, Manner]:
    tokenizer = ChatTokenizer(path)
    prompt = tokenizer.encode_chat([{"role": "user", "content": "x"}], params.get("tools", ()))
    wanted = read_params(params, {}, 512)
    return grammar_of(wanted, tokenizer), manner_of(wanted, tokenizer, prompt)


def test_what_is_looked_for_depends_on_what_is_asked(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, QWEN, special=True)
    strict = {**WEATHER, "function": {**WEATHER["function"], "strict": True}}  # type: ignore[dict-item]

    plain, manner = read(path)
    assert (plain, manner.dialect, manner.thinks, manner.is_sure) == ("", None, True, False)
    assert sorted(manner.markers.values()) == ["</think>", "<think>"]

    free, manner = read(path, tools=[WEATHER])
    assert (free, manner.dialect, manner.thinks) == ("", HERMES, True)
    assert len(manner.markers) == 4

    assert read(path, tools=[strict])[0]
    assert read(path, tools=[strict], tool_choice="none") == (plain, Manner(thinks=True, markers=read(path)[1].markers))

    forced, manner = read(path, tools=[WEATHER], tool_choice="required")
    assert (bool(forced), manner.is_sure, manner.thinks) == (True, True, False)


def test_a_template_that_lets_the_model_think_first_is_known_from_its_prompt(tmp_path: Path) -> None:
    opens = QWEN.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    path = checkpoint(tmp_path, opens, special=True)

    assert read(path)[1].has_begun_thinking
    assert not read(path, response_format={"type": "json_object"})[1].has_begun_thinking


def test_the_dialect_of_a_checkpoint_is_that_of_its_template(tmp_path: Path) -> None:
    mistral = checkpoint(tmp_path / "m", QWEN.replace("<tool_call>", "[TOOL_CALLS]"), special=True)
    neither = checkpoint(tmp_path / "n", QWEN.replace("tool_call", "t"), special=True)

    assert ChatTokenizer(mistral).dialect == MISTRAL
    assert ChatTokenizer(neither).dialect is None
    assert read(neither, tools=[WEATHER])[1].dialect is None
    assert read(neither, tools=[WEATHER], tool_choice="required")[1].dialect == HERMES
