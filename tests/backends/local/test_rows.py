"""A few rows by our own kernels are what torch computes, to the bit the same in any company."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

import backends
from backends.local.assembly import FEW_THREADS
from backends.local.decoder import checkpoint
from backends.local.decoder.base import Span
from backends.local.decoder.config import ModelConfig
from backends.local.decoder.linear import Int4, Linear, from_int4, from_int8, linear, to_int4, to_int8
from backends.local.decoder.model import LlamaDecoder
from backends.local.decoder.packing import FLOAT32, GROUP, pack_plain
from backends.local.decoder.rows import AT_A_TIME, MOST_ROWS, MOST_SEEN, few_rows, has_rows, kernels
from backends.local.decoder.weights import load_weights
from tests.backends.local import tiny
from tests.backends.local.engines import ask, engine, run, tokens
from tests.backends.local.engines import reference as generated

Checkpoints = Callable[[str], Path]
LONG = [(7 * i * i + 3 * i) % 300 for i in range(300)]
KINDS = [(torch.float32, ""), (torch.bfloat16, ""), (torch.bfloat16, "int8"), (torch.bfloat16, "int4")]
kinds = pytest.mark.parametrize(("dtype", "weights"), KINDS)

pytestmark = pytest.mark.skipif(not has_rows(torch.bfloat16, "int8"), reason="no kernels for this processor")


def some(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    """How far, relative to how large."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def product(weight: Linear, rows: torch.Tensor) -> torch.Tensor:
    """A few rows times a weight."""
    compiled = kernels(torch.float32)
    like = np.float32(0) if weight.packed is not None and weight.packed.kind == FLOAT32 else np.uint16(0)
    assert compiled is not None
    assert weight.packed is not None
    outputs = np.empty((AT_A_TIME, weight.packed.outputs // 64 * 64 + 64), np.float32)
    compiled.product(np.array(weight.packed.line(), np.int64), rows.numpy(), outputs, like)
    return torch.from_numpy(outputs[: len(rows), : weight.packed.outputs].copy())


def stored(weight: torch.Tensor, weights: str) -> torch.Tensor:
    """The weight that the codes stand for, not rounded to bfloat16."""
    fits = weight.shape[0] % 16 == 0 and weight.shape[1] % GROUP == 0
    if weights == "int4" and fits:
        codes = to_int4(weight)
        return from_int4(Int4(codes.codes, codes.scales.float(), codes.offsets.float()))
    if weights:
        codes8, scales = to_int8(weight)
        return from_int8(codes8, scales.float())
    return weight


def seen(rows: torch.Tensor, dtype: torch.dtype, weights: str) -> torch.Tensor:
    """The activations that a kernel computes with: in 8 bits, a scale for each group, beside quantised weights."""
    if not weights:
        return rows.to(dtype).double()
    groups = F.pad(rows, (0, -rows.shape[1] % GROUP)).view(len(rows), -1, GROUP)
    largest = groups.abs().amax(-1, keepdim=True)
    numbers: torch.Tensor = torch.round(groups * (127 / largest)).double() * (largest / 127).double()
    return numbers.flatten(1)[:, : rows.shape[1]]


@kinds
@pytest.mark.parametrize("shape", [(64, 64), (96, 160), (17, 32), (33, 100), (130, 31), (176, 1056), (16, 2)])
@pytest.mark.parametrize("rows", range(1, AT_A_TIME + 1))
def test_a_product_is_that_of_the_weight_its_codes_stand_for(
    dtype: torch.dtype, weights: str, shape: tuple[int, int], rows: int
) -> None:
    weight, bias, inputs = some(*shape, dtype=dtype), some(shape[0], dtype=dtype, seed=1), some(rows, shape[1], seed=2)

    found = product(linear(weight, bias, weights, has_rows=True), inputs)

    expected = seen(inputs, dtype, weights) @ stored(weight, weights).double().T + bias.double()
    assert off(found, expected) < 1e-5


@kinds
def test_activations_in_8_bits_cost_less_than_bfloat16_weights_do(dtype: torch.dtype, weights: str) -> None:
    weight, inputs = some(256, 1024, dtype=dtype), some(4, 1024, seed=2)

    found = product(linear(weight, None, weights, has_rows=True), inputs)

    assert off(found, inputs.double() @ stored(weight, weights).double().T) < 0.007


@kinds
def test_a_row_of_a_product_is_the_same_in_any_company(dtype: torch.dtype, weights: str) -> None:
    weight, inputs = linear(some(176, 352, dtype=dtype), None, weights, has_rows=True), some(AT_A_TIME, 352, seed=2)
    alone = torch.cat([product(weight, row.unsqueeze(0)) for row in inputs])

    for rows in range(2, AT_A_TIME + 1):
        for start in range(AT_A_TIME + 1 - rows):
            assert torch.equal(product(weight, inputs[start : start + rows]), alone[start : start + rows])


@pytest.mark.parametrize("weights", ["int8", "int4"])
@pytest.mark.parametrize("value", [0.0, 1e-38, 1e30, float("nan"), float("inf")])
def test_activations_of_any_size_are_kept_and_what_is_no_number_is_none(value: float, weights: str) -> None:
    inputs = torch.full((2, 64), value)
    inputs[1] = 1.0

    found = product(linear(torch.ones(16, 64).bfloat16() / 64, None, weights, has_rows=True), inputs)

    expected = torch.full((16,), value if value < float("inf") else float("nan"))
    torch.testing.assert_close(found[1], torch.ones(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[0], expected, equal_nan=True, atol=1e-30, rtol=0.02)


def decoders(path: Path, dtype: torch.dtype = torch.float32, weights: str = "") -> tuple[LlamaDecoder, LlamaDecoder]:
    """One that computes a few rows by our own kernels, and one that leaves them to torch."""
    config = checkpoint.read_config(path)
    assert isinstance(config, ModelConfig)
    loaded = load_weights(checkpoint.weight_files(path), config, dtype, weights=weights, has_rows=True)
    few = few_rows(config, loaded)
    assert few is not None
    return LlamaDecoder(config, loaded, few), LlamaDecoder(config, loaded)


def reference(path: Path, token_ids: list[int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([token_ids])).logits[0, -1]
    return logits.float()


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9])
def test_a_few_rows_end_where_transformers_does(family: str, rows: int, checkpoints: Checkpoints) -> None:
    ours, _ = decoders(checkpoints(family))
    slab = ours.new_slab(310)
    ours.forward([Span(LONG[:-rows], slab, 0)])

    logits = ours.forward([Span(LONG[-rows:], slab, 300 - rows)])

    torch.testing.assert_close(logits[0], reference(checkpoints(family), LONG), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("llama", {"rope_parameters": tiny.YARN_ROPE}),
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("llama", {"tie_word_embeddings": True, "vocab_size": 515}),
        ("llama", {"num_key_value_heads": 4}),
        ("llama", {"num_key_value_heads": 1}),
        ("llama", {"head_dim": 64, "num_attention_heads": 7, "num_key_value_heads": 1, "hidden_size": 70}),
        ("llama", {"head_dim": 96, "num_key_value_heads": 1}),
        ("llama", {"head_dim": 32}),
        ("llama", {"head_dim": 48, "hidden_size": 36, "intermediate_size": 50}),
        ("mistral", {"sliding_window": 1}),
        ("mistral", {"sliding_window": 40, "head_dim": 128}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1}),
    ],
)
def test_variants_are_what_torch_computes(family: str, overrides: dict[str, Any], tmp_path: Path) -> None:
    ours, torchs = decoders(tiny.build(family, tmp_path, **overrides))
    slabs = [ours.new_slab(300) for _ in range(2)]
    steps = [
        (start, min(start + rows, 300)) for start, rows in [(0, 1), (1, 5), (6, 92), (98, 8), (106, 190), (296, 4)]
    ]

    for start, stop in steps:
        spans = [Span(LONG[start:stop], slab, start, min(3, stop - start)) for slab in slabs]
        torch.testing.assert_close(ours.forward(spans[:1]), torchs.forward(spans[1:]), atol=2e-4, rtol=1e-4)

    torch.testing.assert_close(slabs[0], slabs[1], atol=2e-4, rtol=1e-4)


@kinds
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_row_is_the_same_to_the_bit_in_any_company(
    family: str, dtype: torch.dtype, weights: str, checkpoints: Checkpoints
) -> None:
    ours, _ = decoders(checkpoints(family), dtype, weights)
    lengths = [5, 64, 65, 131, 200, 250, 17, 290]
    slabs = [ours.new_slab(300) for _ in lengths]
    for slab, length in zip(slabs, lengths, strict=True):
        ours.forward([Span(LONG[:length], slab, 0)])
    spans = [Span([LONG[length]], slab, length) for slab, length in zip(slabs, lengths, strict=True)]
    alone = torch.cat([ours.forward([span]) for span in spans])
    rows = [slab.clone() for slab in slabs]

    for count in range(2, len(spans) + 1):
        for start in range(len(spans) + 1 - count):
            assert torch.equal(ours.forward(spans[start : start + count]), alone[start : start + count])
    assert all(
        torch.equal(slab[..., : n + 1, :], kept[..., : n + 1, :])
        for slab, kept, n in zip(slabs, rows, lengths, strict=True)
    )


def test_rows_of_one_sequence_are_those_computed_one_after_another(checkpoints: Checkpoints) -> None:
    ours, _ = decoders(checkpoints("qwen3"), torch.bfloat16)
    slabs = [ours.new_slab(120) for _ in range(2)]
    for slab in slabs:
        ours.forward([Span(LONG[:100], slab, 0)])

    together = ours.forward([Span(LONG[100:120], slabs[0], 100, 20)])
    alone = torch.cat([ours.forward([Span([LONG[i]], slabs[1], i)]) for i in range(100, 120)])

    assert torch.equal(together, alone)
    assert torch.equal(slabs[0], slabs[1])


def test_many_rows_or_rows_that_see_much_are_left_to_torch(checkpoints: Checkpoints) -> None:
    path = checkpoints("llama")
    config = checkpoint.read_config(path)
    assert isinstance(config, ModelConfig)
    few = few_rows(config, load_weights(checkpoint.weight_files(path), config, torch.float32, has_rows=True))
    assert few is not None
    slab = torch.empty((1, 2, 1, MOST_SEEN + 50, 1))

    def takes(rows: int, stop: int) -> bool:
        return few.takes([Span([5] * rows, slab, stop - rows)])

    assert few.most_rows == MOST_ROWS  # so small a model lies in a cache
    assert takes(AT_A_TIME, MOST_SEEN + 50)
    assert takes(MOST_ROWS, MOST_SEEN)
    assert not takes(MOST_ROWS + 1, 100 + MOST_ROWS)
    assert not takes(AT_A_TIME + 1, MOST_SEEN + 1)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_bfloat16_is_as_near_to_float32_as_transformers_is(family: str, checkpoints: Checkpoints) -> None:
    path = checkpoints(family)
    exact = reference(path, LONG)
    ours, _ = decoders(path, torch.bfloat16)
    slab = ours.new_slab(300)
    logits = [ours.forward([Span(LONG[i : i + 6], slab, i)]) for i in range(0, 300, 6)]

    assert (logits[-1][0] - exact).norm() < 1.5 * (reference(path, LONG, torch.bfloat16) - exact).norm()


def test_wanted_logits_are_those_of_the_last_rows_and_there_may_be_none(checkpoints: Checkpoints) -> None:
    ours, torchs = decoders(checkpoints("llama"))
    slabs = [ours.new_slab(5) for _ in range(6)]
    wanted = [(3, 3), (2, 0), (3, 2)]

    spans = [[Span(LONG[:n], slabs[3 * side + i], 0, w) for i, (n, w) in enumerate(wanted)] for side in range(2)]

    torch.testing.assert_close(ours.forward(spans[0]), torchs.forward(spans[1]), atol=2e-4, rtol=1e-4)
    assert ours.forward([Span(LONG[:5], slabs[0], 0, 0)]).shape == (0, ours.config.vocab_size)
    torchs.forward([Span(LONG[:5], slabs[3], 0, 0)])
    torch.testing.assert_close(slabs[0], slabs[3], atol=2e-4, rtol=1e-4)


@pytest.fixture
def threads() -> Iterator[None]:
    """An engine sets how many there are."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("num_threads", [1, FEW_THREADS])
def test_an_engine_of_several_threads_decodes_by_the_kernels_too(num_threads: int, checkpoints: Checkpoints) -> None:
    path = checkpoints("llama")
    several = engine(path, threads=num_threads, exact=True)
    prompts = [tokens(seed, 40 + seed) for seed in range(3)]

    outcome = run(several, *[ask(prompt, number) for number, prompt in enumerate(prompts)])

    assert several._runner._decoder.alike_rows == AT_A_TIME
    for number, prompt in enumerate(prompts):
        assert outcome.tokens[number, 0] == generated(path, prompt)


@pytest.mark.usefixtures("threads")
def test_with_many_threads_torch_computes_a_few_rows(checkpoints: Checkpoints) -> None:
    many = engine(checkpoints("llama"), threads=FEW_THREADS + 1)

    assert many._runner._decoder.alike_rows == 0


def test_quantised_weights_of_a_float32_model_keep_their_float32_activations() -> None:
    assert has_rows(torch.float32)
    assert not has_rows(torch.float32, "int8")
    assert not has_rows(torch.bfloat16, device="cuda")


@pytest.mark.parametrize("token", [-1, 300, 2**40])
@pytest.mark.parametrize("rows", [1, 8, 9])
def test_a_token_the_model_does_not_have_is_refused_and_nothing_is_read(token: int, rows: int, tmp_path: Path) -> None:
    ours, _ = decoders(tiny.build("llama", tmp_path, vocab_size=300))

    with pytest.raises(IndexError):
        ours.forward([Span([5] * (rows - 1) + [token], ours.new_slab(rows), 0)])

    assert ours.forward([Span([299] * rows, ours.new_slab(rows), 0)]).shape == (1, 300)


@pytest.mark.parametrize(("start", "rows", "wanted"), [(63, 2, 1), (64, 1, 1), (-1, 1, 1), (1000, 8, 0), (0, 2, 3)])
def test_rows_outside_a_slab_are_refused_and_nothing_is_written(
    start: int, rows: int, wanted: int, checkpoints: Checkpoints
) -> None:
    ours, _ = decoders(checkpoints("llama"))
    slab = ours.new_slab(64).zero_()

    with pytest.raises(IndexError, match=rf"rows \[{start}, {start + rows}\) of a slab of 64"):
        ours.forward([Span([5] * rows, slab, start, wanted)])

    assert not slab.any()


def test_compiled_code_has_no_number_of_another_file() -> None:
    source = Path(backends.__path__[0], "local", "decoder", "kernels.py").read_text()
    imported = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]

    assert not [node.module for node in imported if node.level or str(node.module).startswith(("backends", "kvtier"))]


def test_kernels_that_read_another_layout_are_not_used(tmp_path: Path) -> None:
    root = Path(backends.__path__[0])
    shutil.copytree(root, tmp_path / "backends", ignore=shutil.ignore_patterns("__pycache__"))
    packing = tmp_path / "backends" / "local" / "decoder" / "packing.py"
    changed = packing.read_text().replace("INT8_BYTES, INT4_BYTES = 512, 320", "INT8_BYTES, INT4_BYTES = 512, 384")
    packing.write_text(changed)
    code = "import torch; from backends.local.decoder.rows import has_rows; print(has_rows(torch.float32))"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=100
    )

    assert done.stdout == "False\n"
    assert "another layout" in done.stderr


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("zeros", [0, 64, 128])
def test_a_weight_laid_out_in_an_unknown_way_is_told_from_zeros(dtype: torch.dtype, zeros: int) -> None:
    weight, other = some(192, 96, dtype=dtype), some(192, 96, dtype=dtype, seed=1)
    weight[:zeros] = other[:zeros] = 0
    laid_out, unknown = (torch.ops.mkldnn._reorder_linear_weight(each, None) for each in (weight, other))

    assert pack_plain(weight, laid_out, None) is not None
    assert pack_plain(weight, unknown, None) is None


@kinds
def test_weights_are_laid_out_for_kernels_only_where_they_read_them(dtype: torch.dtype, weights: str) -> None:
    weight = some(64, 64, dtype=dtype)

    assert linear(weight, None, weights).packed is None
    assert linear(weight, None, weights, has_rows=True).packed is not None
