"""From logits to tokens, and from guesses to more tokens per forward.

    propose -> drafts d1 .. dk behind the last known token -> one forward -> logits after it and after each draft
    settle  -> the token after the last known one; while it is the next draft, the token after that draft too

A draft is only ever compared with the token that was chosen without it, so what is generated, and with which luck, is
the same with drafts and without: greedy output token by token, sampled output as rejection sampling with a draft of
certainty (Leviathan et al. 2023, arXiv 2211.17192) would have it.
"""

from collections.abc import Sequence as Many

import torch

from backends.local.sampler import sample
from backends.local.sequence import Sequence
from backends.local.wire import Token


def propose(sequence: Sequence) -> tuple[int, ...]:
    """Drafts of the next tokens; at most as many as the slab has room for."""
    del sequence
    return ()


@torch.inference_mode()
def settle(sequence: Sequence, drafts: Many[int], logits: torch.Tensor) -> list[Token]:
    """Append the tokens that `logits` `[1 + drafts, vocab]` lead to; at least one, the last one no draft."""
    events: list[Token] = []
    for row, draft in zip(logits, (*drafts, None), strict=True):
        prompt, output = sequence.token_ids[: sequence.num_prompt], sequence.token_ids[sequence.num_prompt :]
        chosen = sample(row, sequence.sampling, prompt, output, sequence.random.random())
        reason = sequence.append(chosen.token_id)
        events.append(Token(sequence.request, sequence.index, chosen.token_id, reason, chosen.logprob, chosen.top))
        if reason is not None or chosen.token_id != draft:
            break
    return events
