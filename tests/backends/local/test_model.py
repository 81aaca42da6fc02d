"""The decoder computes what transformers computes."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from backends.local.decoder import checkpoint
from backends.local.decoder.base import Span
from backends.local.decoder.config import CheckpointError, ModelConfig
from backends.local.decoder.linear import from_int4, from_int8, to_int4, to_int8
from backends.local.decoder.model import LlamaDecoder, padded
from backends.local.decoder.weights import load_weights
from tests.backends.local import tiny

LONG = [(7 * i * i + 3 * i) % 300 for i in range(300)]


def decoder(path: Path, weights: str = "", dtype: torch.dtype = torch.float32) -> LlamaDecoder:
    config = checkpoint.read_config(path)
    assert isinstance(config, ModelConfig)
    return LlamaDecoder(config, load_weights(checkpoint.weight_files(path), config, dtype, weights=weights))


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


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral"])
def test_logits_that_nobody_wants_change_nothing_of_the_others(family: str, checkpoints: Callable[[str], Path]) -> None:
    ours = decoder(checkpoints(family))
    lengths, wanted = (200, 60, 1, 90), (3, 0, 1, 1)
    slabs = [[ours.new_slab(length) for length in lengths] for _ in range(2)]
    every = ours.forward([Span(LONG[:n], slab, 0, n) for n, slab in zip(lengths, slabs[0], strict=True)])

    some = ours.forward([Span(LONG[:n], slab, 0, k) for n, k, slab in zip(lengths, wanted, slabs[1], strict=True)])

    ends = zip(torch.split(every, list(lengths)), wanted, strict=True)
    torch.testing.assert_close(some, torch.cat([rows[len(rows) - k :] for rows, k in ends]), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(one, other) for one, other in zip(*slabs, strict=True))


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


@pytest.mark.parametrize("weights", ["int8", "int4"])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_quantised_weights_give_the_logits_of_the_weights_their_codes_stand_for(
    family: str, weights: str, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    ours = decoder(checkpoints(family), weights)
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoints(family), dtype=torch.float32)
    for name, module in model.named_modules():
        if name.endswith("lm_head"):
            module.weight.data = from_int8(*to_int8(module.weight.data))
        elif isinstance(module, torch.nn.Linear):
            codes = to_int4(module.weight.data) if weights == "int4" else None
            module.weight.data = from_int4(codes) if codes else from_int8(*to_int8(module.weight.data))
    shutil.copytree(checkpoints(family), tmp_path, dirs_exist_ok=True)
    model.save_pretrained(tmp_path)
    slab = ours.new_slab(300)

    logits = [ours.forward([Span(LONG[start:stop], slab, start)])[0] for start, stop in [(0, 298), (298, 299)]]

    torch.testing.assert_close(logits[0], reference(tmp_path, LONG[:298]), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(logits[1], reference(tmp_path, LONG[:299]), atol=2e-4, rtol=1e-4)


def test_wanted_logits_are_those_of_the_last_rows_and_there_may_be_none(checkpoints: Callable[[str], Path]) -> None:
    ours = decoder(checkpoints("llama"))
    slabs = [ours.new_slab(20) for _ in range(3)]

    logits = ours.forward(
        [Span(LONG[:20], slabs[0], 0, 3), Span(LONG[:20], slabs[1], 0, 0), Span(LONG[:19], slabs[2], 0, 2)]
    )

    assert logits.shape == (5, ours.config.vocab_size)
    torch.testing.assert_close(logits[0:2], logits[3:5], atol=2e-4, rtol=1e-4)
    assert ours.forward([Span(LONG[:5], slabs[0], 0, 0)]).shape == (0, ours.config.vocab_size)


def test_rows_whose_logits_nobody_wants_are_kept_like_any_other(checkpoints: Callable[[str], Path]) -> None:
    ours = decoder(checkpoints("mistral"))
    wanted, unwanted = ours.new_slab(300), ours.new_slab(300)

    ours.forward([Span(LONG, wanted, 0, 1)])
    ours.forward([Span(LONG, unwanted, 0, 0)])

    assert torch.equal(unwanted, wanted)


def test_products_see_few_numbers_of_rows() -> None:
    sizes = [padded(count) for count in range(400)]

    assert sizes[:14] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 12, 12, 12, 16]
    assert all(count <= size < count + 8 for count, size in enumerate(sizes))
    assert len(set(sizes)) < 70


@pytest.mark.parametrize("count", [9, 12, 61, 66])
def test_rows_behind_the_real_ones_are_left(count: int, checkpoints: Callable[[str], Path]) -> None:
    ours = decoder(checkpoints("qwen3"))
    slab, other = ours.new_slab(70).zero_(), ours.new_slab(70)  # fresh memory may hold what is no number
    ours.forward([Span(LONG[:30], slab, 0), Span(LONG[: count - 4], other, 0, count - 4)])
    before = slab.clone()

    logits = ours.forward([Span(LONG[: count - 3], other, 0, count - 3), Span(LONG[30:33], slab, 30, 2)])

    assert logits.shape == (count - 1, ours.config.vocab_size)
    assert torch.equal(slab[:, :, :, :30], before[:, :, :, :30])
    assert torch.equal(slab[:, :, :, 33:], before[:, :, :, 33:])
    torch.testing.assert_close(logits[-1], reference(checkpoints("qwen3"), LONG[:33]), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_bfloat16_is_as_near_to_float32_as_transformers_is(family: str, checkpoints: Callable[[str], Path]) -> None:
    path = checkpoints(family)
    exact = reference(path, LONG)
    theirs: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16)
    with torch.inference_mode():
        their_off = (theirs(torch.tensor([LONG])).logits[0, -1].float() - exact).norm()
    ours = decoder(path, dtype=torch.bfloat16)

    our_off = (ours.forward([Span(LONG, ours.new_slab(300), 0)])[0] - exact).norm()

    assert our_off < 1.5 * their_off


def test_attention_costs_what_the_weights_do_as_far_into_a_prompt_as_the_shape_says() -> None:
    shape = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
    others = {"model_type": "llama", "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 8192}

    assert ModelConfig.from_json(shape | others).knee_tokens == 3072


EVERY_TENSOR = {"attention_bias": True, "mlp_bias": True}
LAYER = "model.layers.1."


@pytest.mark.parametrize(("rows", "columns"), [(-1, 0), (1, 0), (0, -1), (0, 1)])
def test_a_tensor_of_another_shape_than_the_configuration_says_is_named(
    rows: int, columns: int, tmp_path: Path
) -> None:
    paths = {
        "llama": tiny.build("llama", tmp_path / "llama", **EVERY_TENSOR),
        "qwen3": tiny.build("qwen3", tmp_path / "qwen3"),
    }
    for path in paths.values():
        config, file = checkpoint.read_config(path), path / "model.safetensors"
        assert isinstance(config, ModelConfig)
        whole = load_file(file)
        names = [name for name in whole if not name.startswith(("model.layers.0.", "model.layers.2."))]
        for name in names:
            shape = list(whole[name].shape)
            wrong = [shape[0] + rows, shape[1] + columns] if len(shape) == 2 else [shape[0] + (rows or columns)]
            save_file({**whole, name: torch.zeros(wrong)}, file)
            told = re.escape(f"'{name}' is {wrong}, and by config.json should be {shape}")
            with pytest.raises(CheckpointError, match=told):
                load_weights([file], config, torch.float32)
        save_file(whole, file)
        load_weights([file], config, torch.float32)


@pytest.mark.parametrize("change", [{"vocab_size": 400}, {"intermediate_size": 64}, {"head_dim": 8}])
def test_a_configuration_that_is_not_of_its_weights_is_refused(
    change: dict[str, Any], checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    path = Path(shutil.copytree(checkpoints("llama"), tmp_path / "copy"))
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | change))

    with pytest.raises(CheckpointError, match=r"by config\.json should be"):
        decoder(path)


@pytest.mark.parametrize("left_out", ["self_attn.k_proj.bias", "mlp.up_proj.bias"])
def test_a_product_for_several_has_all_of_their_biases_or_none(left_out: str, tmp_path: Path) -> None:
    path = tiny.build("llama", tmp_path, **EVERY_TENSOR)
    whole = load_file(path / "model.safetensors")
    del whole[LAYER + left_out]
    save_file(whole, path / "model.safetensors")

    with pytest.raises(CheckpointError, match=f"the weights have no '{LAYER}{left_out}'"):
        decoder(path)
