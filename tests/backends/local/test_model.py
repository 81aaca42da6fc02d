"""The decoder computes what transformers computes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from backends.local import checkpoint
from backends.local.config import ModelConfig
from backends.local.decoder import Span
from backends.local.model import LlamaDecoder
from backends.local.weights import load_weights
from tests.backends.local import tiny

LONG = [(7 * i * i + 3 * i) % 300 for i in range(300)]


def decoder(path: Path) -> LlamaDecoder:
    config = checkpoint.read_config(path)
    assert isinstance(config, ModelConfig)
    return LlamaDecoder(config, load_weights(checkpoint.weight_files(path), config, torch.float32))


def reference(path: Path, token_ids: list[int]) -> torch.Tensor:
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([token_ids])).logits[0, -1]
    return logits


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_logits_are_those_of_transformers(family: str, checkpoints: Callable[[str], Path]) -> None:
    ours = decoder(checkpoints(family))

    logits = ours.forward([Span(LONG, ours.new_slab(len(LONG)), 0)])

    torch.testing.assert_close(logits[0], reference(checkpoints(family), LONG), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "overrides",
    [
        {"rope_parameters": tiny.LLAMA3_ROPE},
        {"rope_parameters": tiny.YARN_ROPE},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0}},
        {"attention_bias": True, "mlp_bias": True},
        {"tie_word_embeddings": True},
        {"num_key_value_heads": 4},
        {"num_key_value_heads": 1},
    ],
    ids=["llama3 rope", "yarn", "linear rope", "biases", "tied head", "no groups", "one group"],
)
def test_variants_compute_what_transformers_computes(overrides: dict[str, Any], tmp_path: Path) -> None:
    path = tiny.build("llama", tmp_path, **overrides)
    ours = decoder(path)

    logits = ours.forward([Span(LONG, ours.new_slab(len(LONG)), 0)])

    torch.testing.assert_close(logits[0], reference(path, LONG), atol=2e-4, rtol=1e-4)


def test_chunks_and_single_rows_of_several_sequences_end_where_one_pass_does(
    checkpoints: Callable[[str], Path],
) -> None:
    ours = decoder(checkpoints("qwen3"))
    whole = ours.forward([Span(LONG, ours.new_slab(300), 0)])
    slabs = [ours.new_slab(512), ours.new_slab(300)]
    for slab in slabs:
        for start, stop in [(0, 128), (128, 256), (256, 299)]:
            ours.forward([Span(LONG[start:stop], slab, start)])
    other = ours.new_slab(8)

    logits = ours.forward([Span(LONG[299:], slabs[0], 299), Span(LONG[:1], other, 0), Span(LONG[299:], slabs[1], 299)])

    torch.testing.assert_close(logits[0], whole[0], atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(logits[2], whole[0], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("mistral", {}),
        ("mistral", {"sliding_window": 1}),
        ("mistral", {"sliding_window": 300}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 2}),
    ],
)
def test_a_window_ends_where_it_does_in_transformers_in_chunks_and_in_single_rows(
    family: str, overrides: dict[str, Any], tmp_path: Path
) -> None:
    path = tiny.build(family, tmp_path, **overrides)
    ours = decoder(path)
    slab = ours.new_slab(300)
    ends = [1, 30, 31, 128, 256, 297, 298, 299, 300]

    logits = [
        ours.forward([Span(LONG[start:stop], slab, start)])[0] for start, stop in zip([0, *ends], ends, strict=False)
    ]

    for stop, row in zip(ends, logits, strict=True):
        torch.testing.assert_close(row, reference(path, LONG[:stop]), atol=2e-4, rtol=1e-4)
