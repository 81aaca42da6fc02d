"""Choosing the next token of one row: a pure function of logits, settings, history and one uniform number.

The uniform number comes from the sequence's own generator, so a seed gives the same text whoever shares the batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from backends.local.params import Sampling

FloatArray = np.typing.NDArray[np.float32]
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


class Tally:
    """How often each token was said, kept up: to count anew and to touch whole rows takes longer than a small step."""

    def __init__(self) -> None:
        self._slots: dict[int, int] = {}
        self._ids = np.empty(64, np.int64)
        self._times = np.empty(64, np.float32)
        self._num_seen = 0

    def follow(self, token_ids: Sequence[int], start: int) -> None:
        """Count what was said since the last time; the first time, from `start` on."""
        self._num_seen = max(self._num_seen, start)
        for token_id in token_ids[self._num_seen :]:
            slot = self._slots.get(token_id)
            if slot is None:
                slot = self._slots[token_id] = len(self._slots)
                if slot == len(self._ids):
                    self._ids, self._times = np.resize(self._ids, 2 * slot), np.resize(self._times, 2 * slot)
                self._ids[slot], self._times[slot] = token_id, 0
            self._times[slot] += 1
        self._num_seen = len(token_ids)

    def penalise(self, row: FloatArray, sampling: Sampling) -> None:
        """Take from a row of logits what `adjust` takes, presence and frequency, to the bit."""
        ids, times = self._ids[: len(self._slots)], self._times[: len(self._slots)]
        found = row[ids] - np.float32(sampling.presence_penalty)
        row[ids] = found - np.float32(sampling.frequency_penalty) * times if sampling.frequency_penalty else found


def is_simply_greedy(sampling: Sampling) -> bool:
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
