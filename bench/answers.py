"""What each eviction policy of the answer store is worth: hits, and seconds of generation saved, beside `lru`.

The prompts are those of the public streams; their popularity is Zipf's, by the exponent in the name, as `mixed_zipf`
has it by itself. `drift` changes three times what is popular. `scan` mixes in, a thousand at a time, two requests that
never come back for every three that may. An answer is as long as one of the Azure trace, and takes as long as a model
of 40 tokens a second does.
"""

import gzip
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

from backends.chat import Choice, Completion, Usage
from bench.datasets import DATA
from bench.rows import Row, Scale
from gateway.answers.base import Entry
from gateway.answers.codec import encode, size_bytes
from gateway.answers.eviction import POLICIES
from gateway.answers.memory import MemoryAnswers

STREAMS = ("clinc150_static", "crosswoz_zh", "disfl_qa", "gsm_plus", "spider", "xquad_en_zh", "arena_hard_distinct")
SHARES = (0.05, 0.2)  # of what all answers weigh together
TOKENS_PER_S = 40
TOKEN_CHARS = 5
BURST, SCANNED = 1000, 0.4
SCOPE = bytes(32)


@dataclass(frozen=True, slots=True)
class Yield:
    """What a policy made of a trace: shares of the requests that may come back, and of the seconds they cost."""

    hits: float
    saved: float


def run(scale: Scale) -> list[Row]:
    """Hits and savings of every policy on every trace."""
    prompts, tokens = _prompts(), _tokens()
    answers = {prompt: _entry(prompt, tokens) for prompt in prompts}
    num = scale.of(20_000, 2_000)
    traces = {
        "mixed_zipf": _column("streams/mixed_zipf.jsonl.gz", "prompt")[:num],
        "zipf 0.9": list(_zipf(prompts, num, 0.9, drifts=0)),
        "zipf 0.9, drift": list(_zipf(prompts, num, 0.9, drifts=3)),
    }
    rows = []
    for name, trace in traces.items():
        answers |= {prompt: _entry(prompt, tokens) for prompt in {*trace} - {*answers}}
        weight = sum(_size(answers[prompt]) for prompt in {*trace})
        scan = [prompt for prompt in _scanned(trace) if prompt not in answers]
        scans = {prompt: _entry(prompt, tokens) for prompt in scan}
        for share, is_scanned in itertools.product(SHARES, (False, True)):
            asked = list(_scanned(trace)) if is_scanned else trace
            label = f"{name}{', scan' if is_scanned else ''}, {share:.0%}"
            got = {policy: replay(asked, answers, scans, int(weight * share), policy) for policy in POLICIES}
            rows += [_row(label, policy, got) for policy in POLICIES if policy != "lru"]
    return rows


def replay(
    trace: Sequence[str], answers: dict[str, Entry], scans: dict[str, Entry], budget_bytes: int, policy: str
) -> Yield:
    """Ask every prompt of `trace`, keeping what had to be generated."""
    memory = MemoryAnswers(budget_bytes, policy=policy)
    hits = asked = 0
    saved_s = cost_s = 0.0
    for prompt in trace:
        entry = answers.get(prompt)
        wanted = entry or scans[prompt]
        found = memory.get_now(SCOPE, wanted.exact)
        if found is None:
            memory.put_now(wanted)
        if entry is not None:
            asked, cost_s = asked + 1, cost_s + entry.elapsed_s
            if found is not None:
                hits, saved_s = hits + 1, saved_s + entry.elapsed_s
    return Yield(hits / asked, saved_s / cost_s)


def _row(label: str, policy: str, got: dict[str, Yield]) -> Row:
    mine, lru = got[policy], got["lru"]
    note = f"hits {mine.hits:.3f}, lru {lru.hits:.3f}"
    return Row("answers", f"{policy}: {label}", mine.saved, "of seconds saved", lru.saved, "lru", note)


def _prompts() -> list[str]:
    return list(dict.fromkeys(prompt for name in STREAMS for prompt in _column(f"streams/{name}.jsonl.gz", "prompt")))


def _tokens() -> list[int]:
    return [max(1, int(count)) for count in _column("traces/azure_2023_conv.jsonl.gz", "output_tokens")]


def _column(file: str, name: str) -> list[str]:
    with gzip.open(DATA / file, "rt", encoding="utf-8") as lines:
        return [json.loads(line)[name] for line in lines]


def _zipf(prompts: Sequence[str], num: int, exponent: float, *, drifts: int) -> Iterator[str]:
    draw = Random(f"{exponent} {drifts}")
    names = list(prompts)
    weights = [*itertools.accumulate(1 / (rank + 1) ** exponent for rank in range(len(names)))]
    for _ in range(drifts + 1):
        draw.shuffle(names)
        yield from draw.choices(names, cum_weights=weights, k=num // (drifts + 1))


def _scanned(trace: Sequence[str]) -> Iterator[str]:
    each = int(BURST * SCANNED / (1 - SCANNED))
    for number, start in enumerate(range(0, len(trace), BURST)):
        yield from trace[start : start + BURST]
        yield from (f"never again {number} {place}" for place in range(each))


def _entry(prompt: str, tokens: Sequence[int]) -> Entry:
    exact = blake2b(prompt.encode(), digest_size=32).digest()
    count = Random(exact).choice(tokens)
    message = {"role": "assistant", "content": "x" * TOKEN_CHARS * count}
    return Entry(
        id=exact.hex()[:24],
        scope=SCOPE,
        exact=exact,
        compat=SCOPE,
        canonical=prompt.encode(),
        question=prompt,
        model="m",
        completion=Completion((Choice(message, "stop"),), Usage(20, count)),
        created_s=0.0,
        expires_s=None,
        elapsed_s=0.3 + count / TOKENS_PER_S,
        vector=bytes(1536),
        embedder="e",
    )


def _size(entry: Entry) -> int:
    return size_bytes(entry, encode(entry.completion))
