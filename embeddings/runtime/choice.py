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
from embeddings.runtime.agreement import TEXTS, TOLERANCES, disagreement
from embeddings.runtime.bert import BertForward
from embeddings.runtime.checkpoint import check_modules
from embeddings.runtime.fast import VERSION, FastEmbedder
from embeddings.runtime.forward import Unsuited, check_config
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
        if why := disagreement(fast, reference.read(TEXTS), TOLERANCES[wanted]):
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


def forward_of(model: Any, dtype: torch.dtype) -> BertForward:
    """The forward of a sentence-transformers model. Raises `Unsuited` when it has a part we do not know."""
    check_modules([type(module).__name__ for module in model])
    if getattr(model, "default_prompt_name", None):
        raise Unsuited("it puts words of its own before every text")
    pooling = getattr(model[1], "pooling_mode", None)
    if pooling not in ("mean", "cls"):
        raise Unsuited(f"its pooling is {pooling}")
    body = model[0].auto_model
    check_config(body.config)
    weights = {name: tensor.detach().to("cpu", torch.float32) for name, tensor in body.state_dict().items()}
    try:
        return BertForward(body.config, weights, pooling, dtype)
    except (KeyError, AttributeError, RuntimeError) as exc:
        raise Unsuited(f"its weights are not where a BERT has them: {exc!r}") from exc
