"""Attention in blocks, by products and by torch's fused kernel, is attention."""

import gc
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch

from backends.local.decoder.attention import SpanAttention
from backends.local.decoder.base import Span
from backends.local.decoder.config import ModelConfig
from tests.backends.local.test_checkpoint import OLD_LLAMA

CONFIG = ModelConfig.from_json({**OLD_LLAMA, "num_key_value_heads": 2})


@cache
def slab(dtype: torch.dtype, offset: float) -> torch.Tensor:
    """Two layers; `offset` is what keys have in common."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 2, 2, 700, 16, generator=generator)
    rows[:, 0] += offset * torch.randn(2, 2, 1, 16, generator=generator)
    return rows.to(dtype)


def plain(queries: torch.Tensor, rows: torch.Tensor, start: int, window: int | None) -> torch.Tensor:
    """Attention word for word, in float32."""
    keys, values = (each.float().repeat_interleave(2, 0) for each in rows)
    scores = queries.float().transpose(0, 1) @ keys.transpose(1, 2)
    for row in range(len(queries)):
        scores[:, row, start + row + 1 :] = -math.inf
        if window is not None:
            scores[:, row, : max(0, start + row + 1 - window)] = -math.inf
    found: torch.Tensor = scores.softmax(-1) @ values
    return found.transpose(0, 1).flatten(1)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """With one thread scores lie in columns, with more in rows."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("window", [None, 1, 40, 300])
@pytest.mark.parametrize(("start", "rows"), [(0, 1), (0, 2), (0, 128), (0, 300), (299, 1), (299, 5), (256, 300)])
@pytest.mark.parametrize(
    ("dtype", "offset", "most"),
    [(torch.float32, 0.0, 1e-5), (torch.bfloat16, 0.0, 0.006), (torch.bfloat16, 30.0, 0.02)],
    ids=["float32", "bfloat16", "keys far from zero"],
)
def test_each_row_sees_what_it_should(
    dtype: torch.dtype, offset: float, most: float, start: int, rows: int, window: int | None
) -> None:
    kept = slab(dtype, offset)
    queries = torch.randn(rows, 4, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
    span = Span([0] * rows, kept, start)

    found = SpanAttention(span, replace(CONFIG, windows=(None, window))).attend(1, queries)

    expected = plain(queries, kept[1], start, window)
    assert float((found.float() - expected).norm() / expected.norm()) < most


def test_rows_are_written_where_they_belong() -> None:
    kept = torch.zeros(2, 2, 2, 8, 16)
    rows = torch.randn(3, 4, 16)

    SpanAttention(Span([0] * 3, kept, 4), CONFIG).write(1, rows)

    assert bool((kept[0] == 0).all())
    assert torch.equal(kept[1, 0, :, 4:7], rows[:, :2].transpose(0, 1))
    assert torch.equal(kept[1, 1, :, 4:7], rows[:, 2:].transpose(0, 1))
    assert bool((kept[1, :, :, [0, 1, 2, 3, 7]] == 0).all())


@pytest.mark.usefixtures("threads")
def test_what_has_looked_at_a_slab_is_gone_at_once() -> None:
    def look() -> None:
        span = Span([0] * 200, slab(torch.bfloat16, 0.0), 300)
        SpanAttention(span, CONFIG).attend(0, torch.zeros(200, 4, 16, dtype=torch.bfloat16))

    look()  # what is compiled stays
    gc.collect()

    look()

    assert gc.collect() == 0  # in a cycle it would hold the memory of slabs that were given back
