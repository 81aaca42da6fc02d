"""Models that transformers computes over our slabs: hits change no token, and what cannot be resumed is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from backends.chat import ChatRequest, collect
from backends.local.backend import LocalBackend
from backends.local.decoder import checkpoint
from backends.local.decoder.config import CheckpointError
from backends.local.decoder.foreign import load_foreign
from backends.local.settings import LocalSettings
from tests.backends.local import tiny
from tests.backends.local.engines import ask, engine, reference, run, tokens

Checkpoints = Callable[[str], Path]
families = pytest.mark.parametrize("family", tiny.FOREIGN)
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0] * 8,
    "long_factor": [2.0] * 8,
    "original_max_position_embeddings": 256,
}
DEEPSEEK = {
    "num_key_value_heads": 4,
    "head_dim": 4,
    "qk_rope_head_dim": 4,
    "kv_lora_rank": 16,
    "n_routed_experts": 8,
    "n_group": 1,
    "topk_group": 1,
}


@families
def test_a_repeat_computes_one_token_and_says_the_same(family: str, checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints(family), tokens(1, 200)
    warm = engine(path)
    cold = run(warm, ask(prompt))

    again = run(warm, ask(prompt, 2))

    assert cold.cached[1, 0] == 0
    assert again.cached[2, 0] == 199
    assert again.tokens[2, 0] == cold.tokens[1, 0] == reference(path, prompt)


@families
@pytest.mark.parametrize("shared", [1, 31, 45, 64, 129])
def test_a_prompt_that_diverges_anywhere_resumes_at_the_very_token(
    family: str, shared: int, checkpoints: Checkpoints
) -> None:
    path, first = checkpoints(family), tokens(1, 180)
    other = [*first[:shared], 301, *tokens(2, 70)]
    warm = engine(path)
    run(warm, ask(first))

    outcome = run(warm, ask(other, 2))

    assert outcome.cached[2, 0] == shared
    assert outcome.tokens[2, 0] == run(engine(path), ask(other)).tokens[1, 0] == reference(path, other)


@families
def test_the_next_turn_resumes_behind_the_last_answer(family: str, checkpoints: Checkpoints) -> None:
    path, history = checkpoints(family), tokens(3, 75)
    warm = engine(path)
    known = 0
    for turn in range(1, 4):
        outcome = run(warm, ask(history, turn, max_tokens=40))
        assert outcome.cached[turn, 0] == known
        fresh = run(engine(path), ask(history, max_tokens=40))
        assert outcome.tokens[turn, 0] == fresh.tokens[1, 0] == reference(path, history, 40)
        answered = [*history, *outcome.tokens[turn, 0]]
        known = len(answered) - 1  # the last token was chosen and never computed
        history = [*answered, *tokens(10 + turn, 17)]
    assert known > 0


@families
def test_concurrent_requests_do_not_change_each_other(family: str, checkpoints: Checkpoints) -> None:
    path, system = checkpoints(family), tokens(4, 100)
    prompts = [[*system[: 100 - 9 * i], *tokens(20 + i, 30 + 40 * i)] for i in range(4)]
    warm = engine(path)
    run(warm, ask(system))

    outcome = run(warm, *[ask(prompt, i, max_tokens=24) for i, prompt in enumerate(prompts)])

    for i, prompt in enumerate(prompts):
        assert outcome.cached[i, 0] >= 32
        assert outcome.tokens[i, 0] == reference(path, prompt, 24)


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("llama", {"hidden_act": "gelu"}),  # Llama-like, and yet not what our own decoder computes
        ("phi3", {"sliding_window": 1024}),  # a window no sequence outgrows
        ("gptj", {"rotary_dim": 8}),
        ("opt", {"ffn_dim": 128}),
        ("granite", {}),
    ],
    ids=["llama with gelu", "wide window", "gptj", "opt", "granite"],
)
def test_others_resume_as_well(family: str, overrides: dict[str, Any], tmp_path: Path) -> None:
    path, prompt = tiny.build(family, tmp_path, **overrides), tokens(5, 150)
    warm = engine(path)
    run(warm, ask(prompt[:140]))

    outcome = run(warm, ask(prompt, 2))

    assert outcome.cached[2, 0] == 140
    assert outcome.tokens[2, 0] == reference(path, prompt)


def test_learned_positions_end_where_the_context_does(tmp_path: Path) -> None:
    path, prompt = tiny.build("gpt2", tmp_path, max_position_embeddings=64), tokens(7, 50)

    outcome = run(engine(path), ask(prompt, max_tokens=100, ignore_eos=True))

    assert outcome.finished[1, 0] == "length"
    assert outcome.tokens[1, 0] == reference(path, prompt, 14, ends=False)


def config(path: Path, model_type: str, **fields: Any) -> Path:
    """A directory with nothing but config.json."""
    (path / "config.json").write_text(json.dumps({"model_type": model_type, **fields}))
    return path


@pytest.mark.parametrize(
    ("rope", "context"),
    [
        (LONGROPE, 256),
        ({"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}, 1024),
    ],
)
def test_the_context_ends_where_kept_keys_would_have_other_angles(
    rope: dict[str, Any], context: int, tmp_path: Path
) -> None:
    config(tmp_path, "llama", **tiny.SHAPE, rope_parameters=rope)

    assert checkpoint.read_config(tmp_path).context_tokens == context


@pytest.mark.parametrize(
    ("model_type", "fields", "words"),
    [
        ("gpt_oss", {}, r"last 128 of 131072 tokens \(a sliding window\)"),
        ("phi3", {"sliding_window": 64}, r"last 64 of 4096 tokens \(a sliding window\)"),
        ("llama4_text", {}, "sliding window"),
        ("mamba", {}, "'linear_attention' cannot be resumed"),
        ("jamba", {}, "'linear_attention' cannot be resumed"),
        ("deepseek_v32", {}, "'indexed_attention' cannot be resumed"),
        ("t5", {}, "'t5' has an encoder"),
        ("vit", {}, "'vit' is no causal language model"),
        ("gpt2", {"quantization_config": {"quant_method": "gptq"}}, "quantised"),
        ("new", {}, "'new' is unknown to transformers"),
        ("new", {"auto_map": {"AutoConfig": "x.Y"}}, "code that comes with the checkpoint, which is never run"),
        ("gpt2", {"n_embd": "many"}, "config.json of a 'gpt2' model is not understood"),
    ],
)
def test_what_could_not_be_resumed_is_refused_before_its_weights_are_read(
    model_type: str, fields: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=words):
        checkpoint.read_config(config(tmp_path, model_type, **fields))


@pytest.mark.parametrize(
    ("family", "overrides", "words"),
    [
        ("bert", {}, "BertLMHeadModel computes something else over kept keys and values"),  # it looks ahead
        ("openai-gpt", {}, "keeps keys and values in 0 of 3 layers"),
        ("deepseek_v3", DEEPSEEK, "not all alike: 1 x 16 torch.float32, 1 x 4 torch.float32"),
    ],
)
def test_what_shows_only_in_the_model_is_refused_when_it_is_loaded(
    family: str, overrides: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tiny.build(family, tmp_path, **overrides)

    with pytest.raises(CheckpointError, match=words):
        load_foreign(path, torch.float32)


def test_weights_that_are_not_there_are_not_made_up(tmp_path: Path) -> None:
    weights = tiny.build("olmo2", tmp_path) / "model.safetensors"
    tensors = load_file(weights)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})

    with pytest.raises(CheckpointError, match=r"the weights have no model\.layers\.1\.mlp\.up_proj\.weight"):
        load_foreign(tmp_path, torch.float32)


async def test_the_backend_serves_one(checkpoints: Checkpoints) -> None:
    settings = LocalSettings(
        secret=b"secret", kv_budget_bytes=32 << 20, slab_budget_bytes=64 << 20, threads=1, ready_wait_s=120
    )
    local = LocalBackend(checkpoints("gpt_neox"), served_name="tiny", settings=settings)
    message = {"role": "user", "content": "A cache keeps what was computed. " * 8}
    await local.open()
    try:
        request = ChatRequest("tiny", (message,), {"max_tokens": 16})
        first, again = [collect([delta async for delta in local.stream(request)]) for _ in range(2)]
    finally:
        await local.close()

    assert again.choices[0].message["content"] == first.choices[0].message["content"] != ""
    assert (first.usage.cached_tokens, again.usage.cached_tokens) == (0, first.usage.prompt_tokens - 1)
