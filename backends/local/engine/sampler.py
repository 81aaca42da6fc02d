"""Choosing the next token of one row: a pure function of logits, settings, history and one uniform number.

The uniform number comes from the sequence's own generator, so a seed gives the same text whoever shares the batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from backends.local.params import Sampling

GREEDY_BELOW = 1e-5  # a temperature that would only overflow
LEADING = 1024  # candidates sorted first: the nucleus seldom needs more, and a whole vocabulary takes milliseconds


@dataclass(frozen=True, slots=True)
class Sampled:
    """A token, and when asked its log probability and the likeliest ones, under the model's own distribution."""

    token_id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


def sample(
    logits: torch.Tensor,
    sampling: Sampling,
    prompt_ids: Sequence[int],
    output_ids: Sequence[int],
    uniform: float,
    allowed: torch.Tensor | None = None,
) -> Sampled:
    """Choose from `logits` `[vocab]`, float32; `uniform` is in [0, 1). Only `allowed` tokens, where that is given."""
    adjusted = adjust(logits, sampling, prompt_ids, output_ids)
    if allowed is not None:
        adjusted = adjusted.masked_fill(~allowed.to(adjusted.device), -torch.inf)
    token_id = choose(adjusted, sampling, uniform)
    if sampling.top_logprobs is None:
        return Sampled(token_id)
    logprobs = logits.log_softmax(-1)
    values, ids = logprobs.topk(sampling.top_logprobs)
    return Sampled(token_id, float(logprobs[token_id]), tuple(zip(ids.tolist(), values.tolist(), strict=True)))


def looks_back(sampling: Sampling) -> bool:
    """Whether it matters what was said before."""
    return bool(sampling.presence_penalty or sampling.frequency_penalty or sampling.repetition_penalty != 1.0)


def is_plainly_greedy(sampling: Sampling) -> bool:
    """Whether the likeliest token is all that is asked for."""
    is_adjusted = looks_back(sampling) or sampling.logit_bias
    return sampling.temperature < GREEDY_BELOW and not is_adjusted and sampling.top_logprobs is None


def is_penalised_greedy(sampling: Sampling) -> bool:
    """Whether it is the likeliest token after what a token's presence or frequency takes from it, and no more."""
    is_adjusted = sampling.repetition_penalty != 1.0 or sampling.logit_bias
    return sampling.temperature < GREEDY_BELOW and not is_adjusted and sampling.top_logprobs is None


def adjust(
    logits: torch.Tensor, sampling: Sampling, prompt_ids: Sequence[int], output_ids: Sequence[int]
) -> torch.Tensor:
    """Apply bias and penalties. Presence and frequency look at the output, repetition at the prompt too."""
    if sampling.repetition_penalty != 1.0:
        seen = torch.tensor(list({*prompt_ids, *output_ids}))
        logits, score = logits.clone(), logits[seen]
        factor = sampling.repetition_penalty
        logits[seen] = torch.where(score > 0, score / factor, score * factor)
    if output_ids and (sampling.presence_penalty or sampling.frequency_penalty):
        counts = torch.bincount(torch.tensor(output_ids), minlength=len(logits))
        logits = logits - sampling.presence_penalty * (counts > 0) - sampling.frequency_penalty * counts
    if sampling.logit_bias:
        ids = torch.tensor([token_id for token_id, _ in sampling.logit_bias])
        logits = logits.clone()
        logits[ids] += torch.tensor([bias for _, bias in sampling.logit_bias])
    return logits


def choose(logits: torch.Tensor, sampling: Sampling, uniform: float) -> int:
    """Draw a token id by inverting the distribution at `uniform`."""
    if sampling.temperature < GREEDY_BELOW:
        return int(logits.argmax())
    probabilities = (logits / sampling.temperature).softmax(-1)
    if not (sampling.top_k or sampling.top_p < 1 or sampling.min_p):
        return _invert(probabilities, uniform)
    kept, ids = _truncate(probabilities, sampling)
    return int(ids[_invert(kept, uniform)])


def _truncate(probabilities: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """The probabilities that remain, likeliest first, and their token ids; top-k, then top-p of those, then min-p."""
    size = len(probabilities)
    wanted = min(sampling.top_k or size, size)
    leading, ids = probabilities.topk(min(wanted, LEADING))
    holds_nucleus = sampling.top_p < 1 and float(leading.sum()) >= sampling.top_p
    holds_likely = bool(leading[-1] < sampling.min_p * leading[0])
    if wanted > LEADING and (sampling.top_k or not (holds_nucleus or holds_likely)):
        leading, ids = probabilities.topk(wanted)
    mass = leading.double().cumsum(0)
    total = mass[-1] if sampling.top_k else 1.0
    before = mass - leading  # the token that crosses the border stays
    keep = (before < sampling.top_p * total) & (leading >= sampling.min_p * leading[0])
    keep[0] = True
    return leading[keep], ids[keep]


def _invert(probabilities: torch.Tensor, uniform: float) -> int:
    mass = probabilities.double().cumsum(0)
    total = float(mass[-1])
    below = min(uniform * total, math.nextafter(total, 0.0))  # rounded up to the total it would find no token
    return int(torch.searchsorted(mass, below, right=True))
