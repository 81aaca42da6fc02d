"""Which runtime computes a model, and in which numbers.

Float32 unless bfloat16 is asked for, also where the processor multiplies bfloat16 itself: that takes a third off a
question, and puts 6 to 8 of 10,000 pairs on the other side of a threshold, for verifiers are fitted on float32. And
gateways on different processors that share a store agree without being told.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch

from embeddings.base import Embedder, EmbedderError
from embeddings.runtime.agreement import TOLERANCES, disagreement
from embeddings.runtime.bert import Unsuited
from embeddings.runtime.fast import VERSION, FastEmbedder, forward_of
from embeddings.runtime.tokens import Tokens
from embeddings.selftest import self_test

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PRECISIONS = ("auto", *DTYPES)


def quickened(
    reference: Embedder,
    model: Any,
    tokens: Tokens,
    precision: str,
    name: str,
    fingerprint_in: Callable[[str], str],  # given an arithmetic
) -> Embedder:
    """`model` by our own forward; the `reference` itself, with a word in the log, where that cannot be or strays."""
    wanted = chosen(precision)
    try:
        forward = forward_of(model, DTYPES[wanted])
        fingerprint = fingerprint_in(f"{wanted}+{VERSION}")
        fast = FastEmbedder(forward, tokens, name=name, dim=reference.dim, fingerprint=fingerprint)
        if why := disagreement(fast, reference, TOLERANCES[wanted]):
            raise Unsuited(f"our own forward in {wanted} computes something else: {why}")
        self_test(fast)
    except (Unsuited, EmbedderError) as exc:
        log.warning("%s is computed by sentence-transformers in float32: %s", name, exc)
        return reference
    return fast


def chosen(precision: str) -> str:
    """The numbers to compute in."""
    if precision not in PRECISIONS:
        raise EmbedderError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    if precision == "bfloat16" and not has_bfloat16(torch.cpu.get_capabilities()):
        log.warning("this processor does not multiply bfloat16 itself: float32 would be faster")
    return "float32" if precision == "auto" else precision


def has_bfloat16(able: Mapping[str, object]) -> bool:
    """Whether a processor of these capabilities, as torch names them, multiplies bfloat16 itself."""
    return any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last is ARM's
