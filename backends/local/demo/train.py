"""Train the demo model: `python -m backends.local.demo.train [--out DIR] [--steps N]`.

Tokenizer, model and every row come from `corpus/` and one seed. Two runs on the same machine with the same number of
threads give the same bytes. The weights are trained in float32 (matrix products in bfloat16 where the processor has
them) and saved in bfloat16.
"""

import argparse
import math
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from backends.local.demo import checkpoint_path
from backends.local.demo.dialogs import END, NO_LABEL, Dialogs, Row, question_text
from backends.local.demo.questions import DEFAULT_SYSTEM, ELSEWHERE_ANSWER, Elsewhere, Item, load_elsewhere, load_items
from backends.local.demo.tokens import as_transformers, train_tokenizer
from backends.local.demo.wordings import reword

MAX_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights, apart from the corpus and the machine."""

    seed: int = 20
    steps: int = 1100
    shapes: tuple[tuple[int, int], ...] = ((384, 11), (384, 11), (384, 11), (1024, 4))  # tokens per row, rows per step
    vocab_size: int = 3072
    hidden_size: int = 256
    layers: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup_steps: int = 60
    cut_after: float = 0.2  # the share of the steps after which most answers are cut short
    cut_share: float = 0.7


def main() -> None:
    options = argparse.ArgumentParser(description="Train the demo model.")
    options.add_argument("--out", type=Path, default=checkpoint_path())
    options.add_argument("--steps", type=int, default=Recipe().steps)
    options.add_argument("--threads", type=int, default=2)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    started = time.perf_counter()
    tokenizer, model = train(Recipe(steps=chosen.steps), log_every=50)
    save(chosen.out, tokenizer, model)
    print(f"trained {model.num_parameters():,} parameters in {time.perf_counter() - started:.0f} s -> {chosen.out}")


def train(recipe: Recipe, log_every: int = 0) -> tuple[Tokenizer, Any]:
    """Train tokenizer and model from the corpus, the same way each time."""
    items, elsewhere = load_items(), load_elsewhere()
    tokenizer = train_tokenizer(texts(items, elsewhere, recipe.seed), recipe.vocab_size)
    rng = random.Random(recipe.seed)  # noqa: S311 - a training order, not a secret
    dialogs = Dialogs(items, elsewhere, lambda text: tokenizer.encode(text).ids, rng)
    with repeatable(recipe.seed):
        model = LlamaForCausalLM(config(recipe, tokenizer)).train()
        optimizer = torch.optim.AdamW(groups(model, recipe), lr=recipe.learning_rate, betas=(0.9, 0.98))
        for step in range(recipe.steps):
            loss = advance(model, optimizer, dialogs, step, recipe)
            if log_every and step % log_every == 0:
                print(f"step {step} loss {loss:.4f}", flush=True)
    return tokenizer, model.eval()


def advance(model: Any, optimizer: torch.optim.Optimizer, dialogs: Dialogs, step: int, recipe: Recipe) -> float:
    """Take one optimizer step; returns the loss before it."""
    length, count = recipe.shapes[step % len(recipe.shapes)]
    cut_share = recipe.cut_share if step >= recipe.cut_after * recipe.steps else 0.0
    loss = loss_of(model, [dialogs.row(length, cut_share) for _ in range(count)])
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * schedule(step, recipe)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Seed torch and allow deterministic kernels only, inside the block."""
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


def texts(items: Sequence[Item], elsewhere: Elsewhere, seed: int) -> Iterator[str]:
    """The text the tokenizer learns from: answers and questions as they will be seen, systems, everyday words."""
    rng = random.Random(seed)  # noqa: S311
    yield from (DEFAULT_SYSTEM, ELSEWHERE_ANSWER, *elsewhere.systems)
    yield from map(question_text, (*elsewhere.train, *elsewhere.words))
    for item in items:
        yield item.answer
        yield from map(question_text, (*item.train, *(reword(wording, rng) for wording in item.train)))


def config(recipe: Recipe, tokenizer: Tokenizer) -> LlamaConfig:
    """A plain Llama: grouped queries, rotary positions, tied embeddings."""
    end = tokenizer.token_to_id(END)
    return LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.hidden_size * 5 // 2,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.hidden_size // 32,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=MAX_TOKENS,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=end,
    )


def loss_of(model: Any, rows: Sequence[Row]) -> torch.Tensor:
    """Mean cross-entropy over the labelled tokens; the head runs on those positions only."""
    tokens = torch.tensor([row.tokens for row in rows])
    labels = torch.tensor([row.labels for row in rows])[:, 1:]
    learnt = labels != NO_LABEL
    with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_amx_tile_supported()):
        states = model.model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1]
        logits = model.lm_head(states[learnt])
    return cross_entropy(logits.float(), labels[learnt])


def groups(model: Any, recipe: Recipe) -> list[dict[str, Any]]:
    """Matrices decay, norms do not."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
    ]


def schedule(step: int, recipe: Recipe) -> float:
    """Learning rate as a share of its peak: a linear start, then half a cosine down to 2 %."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2


def save(folder: Path, tokenizer: Tokenizer, model: Any) -> None:
    """Write a Hugging Face checkpoint: bfloat16 weights, tokenizer, template, greedy by default."""
    model.to(torch.bfloat16).save_pretrained(folder)
    as_transformers(tokenizer, MAX_TOKENS).save_pretrained(folder)
    end = tokenizer.token_to_id(END)
    GenerationConfig(do_sample=False, eos_token_id=end, pad_token_id=end, max_new_tokens=128).save_pretrained(folder)


if __name__ == "__main__":
    main()
