"""Answers that were stored before the gateway starts: a long list, without asking for each of them."""

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from backends.chat import Choice, Completion, Usage
from gateway.answers.base import Entry
from gateway.answers.sqlite import SqliteAnswers
from gateway.identity.canonical import entry_id_of
from gateway.identity.secret import load_secret

SUBJECTS = (
    "the invoice",
    "a refund",
    "my subscription",
    "the delivery",
    "two-factor login",
    "the API key",
    "a voucher",
)
VERBS = ("cancel", "find", "change", "explain", "download", "renew", "share", "export")
ENDS = ("on my phone", "before Friday", "for a team of five", "in the European region", "without an account", "again")


def seed(data_dir: Path, count: int) -> None:
    """Put `count` entries into the store of a gateway that is not running; the last is another name of the first."""
    secret = load_secret(data_dir)
    entries = [_entry(secret, number, count) for number in range(count)]
    entries[-1] = replace(entries[-1], completion=entries[0].completion, alias_of=entries[0].id)
    with ThreadPoolExecutor(1) as aside:  # a browser test has an event loop of its own in this thread
        aside.submit(lambda: asyncio.run(_put_all(data_dir / "answers.db", secret, entries))).result()


async def _put_all(path: Path, secret: bytes, entries: list[Entry]) -> None:
    store = SqliteAnswers(path, budget_bytes=None, secret=secret)
    await store.open()
    for start in range(0, len(entries), 2000):
        await asyncio.gather(*(store.put(entry) for entry in entries[start : start + 2000]))
    await store.close()


def _entry(secret: bytes, number: int, count: int) -> Entry:
    draws = random.Random(number)
    exact = draws.randbytes(32)
    question = f"How do I {draws.choice(VERBS)} {draws.choice(SUBJECTS)} {draws.choice(ENDS)}? (case {number})"
    answer = f"Open Settings, choose the account, and follow the steps for case {number}. " * draws.randint(1, 5)
    return Entry(
        id=entry_id_of(secret, exact),
        scope=bytes(32),
        exact=exact,
        compat=bytes(32),
        canonical=b'{"messages":[{"content":"%s","role":"user"}],"model":"test-model"}' % question.encode(),
        question=question,
        model="test-model",
        completion=Completion((Choice({"role": "assistant", "content": answer.strip()}, "stop"),), Usage(24, 180)),
        created_s=time.time() - 40 * (count - number),
        expires_s=None,
        elapsed_s=draws.uniform(0.4, 6.0),
        tags=tuple(draws.sample(("billing", "shop", "handbook-v3", "mobile"), draws.randint(0, 2))),
        tenant="anonymous",
    )
