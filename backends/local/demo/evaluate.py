"""Measure the demo model: `python -m backends.local.demo.evaluate [--checkpoint DIR]`.

Every wording is asked through the chat template, greedily, as a first question; a sample is asked again as a follow-up
in a conversation and under other system prompts. Held-out wordings were never seen in training.
"""

import argparse
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from backends.local.demo import checkpoint_path
from backends.local.demo.questions import (
    ELSEWHERE_ANSWER,
    ELSEWHERE_KEY,
    Item,
    load_elsewhere,
    load_items,
)

Messages = list[dict[str, str]]
BATCH = 128
MAX_NEW_TOKENS = 72


@dataclass(frozen=True, slots=True)
class Asked:
    """A conversation that ends in a question, and the item that knows the answer; None for anything else."""

    messages: Messages
    item: Item | None

    @property
    def question(self) -> str:
        return self.messages[-1]["content"]


@dataclass(frozen=True, slots=True)
class Score:
    """Shares in 0..1 of `count` questions: answered word for word, and with the fact that matters."""

    name: str
    count: int
    exact: float
    fact: float
    missed: tuple[tuple[str, str], ...] = ()  # question, what came instead

    def __str__(self) -> str:
        return f"{self.name:<40} n={self.count:<5} exact {self.exact:7.2%}   fact {self.fact:7.2%}"


class Demo:
    """The checkpoint as transformers loads it, asked in batches."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)  # nosec B615
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)  # nosec B615
        self.model = model.eval()

    def answers(self, conversations: Sequence[Messages]) -> list[str]:
        """The greedy answer to each conversation, in order; similar lengths run together."""
        prompts = [self._prompt(messages) for messages in conversations]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        found: dict[int, str] = {}
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            found.update(zip(batch, self._generate([prompts[i] for i in batch]), strict=True))
        return [found[i] for i in range(len(prompts))]

    def _prompt(self, messages: Messages) -> list[int]:
        text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return list(self.tokenizer(text)["input_ids"])

    @torch.inference_mode()
    def _generate(self, prompts: Sequence[list[int]]) -> list[str]:
        inputs: Any = self.tokenizer.pad({"input_ids": list(prompts)}, return_tensors="pt")
        width = inputs["input_ids"].shape[1]
        output = self.model.generate(**inputs, do_sample=False, max_new_tokens=MAX_NEW_TOKENS)
        return list(self.tokenizer.batch_decode(output[:, width:], skip_special_tokens=True))


def score(name: str, demo: Demo, asked: Sequence[Asked]) -> Score:
    """Ask everything and count."""
    answers = demo.answers([one.messages for one in asked])
    exact = [
        text == (one.item.answer if one.item else ELSEWHERE_ANSWER) for one, text in zip(asked, answers, strict=True)
    ]
    facts = [_has_fact(one, text) for one, text in zip(asked, answers, strict=True)]
    missed = tuple((one.question, text) for one, text, ok in zip(asked, answers, facts, strict=True) if not ok)
    return Score(name, len(asked), sum(exact) / len(asked), sum(facts) / len(asked), missed)


def corpus_questions(items: Iterable[Item]) -> list[Asked]:
    """Every wording the model was trained on, as a first question."""
    return [Asked(_first(wording), item) for item in items for wording in item.train]


def held_out_questions(items: Iterable[Item]) -> list[Asked]:
    """Every wording kept from training, as a first question."""
    return [Asked(_first(wording), item) for item in items for wording in item.held_out]


def follow_ups(asked: Sequence[Asked], items: Sequence[Item], seed: int = 1) -> list[Asked]:
    """The same questions after one to three others with their answers, under some system prompt or none."""
    rng = random.Random(seed)  # noqa: S311
    systems = load_elsewhere().systems
    return [Asked(_history(rng, items, systems) + one.messages, one.item) for one in asked]


def elsewhere_questions() -> list[Asked]:
    """Held-out questions about anything else."""
    return [Asked(_first(question), None) for question in load_elsewhere().held_out]


def measure(demo: Demo, items: Sequence[Item]) -> list[Score]:
    """Every figure the project states about the demo model."""
    train, held_out = corpus_questions(items), held_out_questions(items)
    elsewhere = elsewhere_questions()
    return [
        score("corpus", demo, train),
        score("held-out wordings", demo, held_out),
        score("corpus, in conversations", demo, follow_ups(train[::4], items)),
        score("held-out wordings, in conversations", demo, follow_ups(held_out, items)),
        score("anything else (held out)", demo, elsewhere),
        score("anything else, in conversations", demo, follow_ups(elsewhere, items)),
    ]


def main() -> None:
    options = argparse.ArgumentParser(description="Measure the demo model.")
    options.add_argument("--checkpoint", type=Path, default=checkpoint_path())
    options.add_argument("--dtype", choices=("float32", "bfloat16", "both"), default="both")
    options.add_argument("--missed", action="store_true", help="print the questions that were missed")
    chosen = options.parse_args()
    items = load_items()
    print(f"{len(items)} questions, {sum(path.stat().st_size for path in chosen.checkpoint.iterdir()):,} bytes")
    for dtype in ("float32", "bfloat16") if chosen.dtype == "both" else (chosen.dtype,):
        print(f"loaded as {dtype}")
        for result in measure(Demo(chosen.checkpoint, getattr(torch, dtype)), items):
            print(f"  {result}")
            for question, text in result.missed if chosen.missed else ():
                print(f"      {question!r} -> {text!r}")


def _first(question: str) -> Messages:
    return [{"role": "user", "content": question}]


def _history(rng: random.Random, items: Sequence[Item], systems: Sequence[str]) -> Messages:
    messages = [{"role": "system", "content": rng.choice(systems)}] if rng.random() < 0.5 else []
    for item in rng.sample(list(items), rng.randint(1, 3)):
        messages += [*_first(rng.choice(item.train)), {"role": "assistant", "content": item.answer}]
    return messages


def _has_fact(one: Asked, text: str) -> bool:
    return one.item.has_fact(text) if one.item else ELSEWHERE_KEY in text


if __name__ == "__main__":
    main()
