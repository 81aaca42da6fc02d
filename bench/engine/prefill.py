"""Prefill: prompt tokens per second at 2,048 tokens, beside transformers."""

from bench.engine.models import SMOLLM2_135M, checkpoint_of
from bench.engine.plain import Transformers
from bench.engine.prompts import Prompts
from bench.engine.serving import Request, serving
from bench.figures import median
from bench.rows import Row, Scale


def run(scale: Scale) -> list[Row]:
    """First token of a prompt from nothing, with all that HTTP and the template add."""
    num_tokens, rounds = scale.of(2048, 512), scale.of(3, 1)
    path = checkpoint_of(SMOLLM2_135M)
    prompts, plain = Prompts(path), Transformers(path, "bfloat16")
    ours, theirs = [], []
    with serving(path, dtype="bfloat16") as engine:
        for number in range(-1, rounds):
            chat = prompts.plain(num_tokens, number)
            found = engine.ask(Request(chat.messages, 1, is_cold=True)).first_ms / 1000
            beside = plain.first_seconds(chat.token_ids)
            if number >= 0:  # the first of a shape is slower
                ours.append(found)
                theirs.append(beside)
    return [
        Row(
            "prefill",
            f"{SMOLLM2_135M}, bfloat16, {num_tokens} tokens",
            num_tokens / median(ours),
            "tok/s",
            num_tokens / median(theirs),
            "transformers, one forward",
            f"first token after {median(ours) * 1000:.0f} ms over HTTP",
        )
    ]
