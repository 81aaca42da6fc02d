"""What a choice takes, beside a look into a dictionary."""

import time
from random import Random
from statistics import median

from backends.chat import ChatRequest
from backends.routing.affinity import Affinity
from backends.routing.base import Load
from backends.routing.prompt import Prompt, prompt_of
from backends.routing.simple import LeastLoad
from bench.rows import Row, Scale

TALKS = 333
CHUNKS = 400  # of a talk, 100 of them everybody's: 100,000 in all


def rows(scale: Scale) -> list[Row]:
    """Microseconds of choosing among replicas that know 100,000 chunks, and of making the keys of a prompt."""
    found = []
    for replicas in (8, 64):
        found += _choosing(replicas, scale.of(4000, 200))
    return [*found, *_keys(scale.of(300, 30))]


def _choosing(replicas: int, turns: int) -> list[Row]:
    random = Random(replicas)
    talks = [_talk(number) for number in range(1, TALKS + 1)]
    loads = [Load(f"replica-{n}", running=n % 5, prefill_tokens=n * 100, decodes=n % 5) for n in range(replicas)]
    affinity, least = Affinity(random), LeastLoad(random)
    for talk in talks:
        for load in loads if replicas <= 8 else random.sample(loads, 8):
            affinity.shadow.hold(load.replica, talk)
    known = {key: place for talk in talks for place, key in enumerate(talk.chunks)}
    taken: dict[str, list[float]] = {"choose": [], "heard": [], "least_load": [], "dict": []}
    for _ in range(turns):
        talk = random.choice(talks)
        key = talk.chunks[-1]
        marks = [time.perf_counter()]
        choice = affinity.choose(talk, loads)
        marks.append(time.perf_counter())
        affinity.heard(choice, talk, choice.predicted_tokens, talk.num_tokens)
        marks.append(time.perf_counter())
        least.choose(talk, loads)
        marks.append(time.perf_counter())
        _ = known[key]
        marks.append(time.perf_counter())
        for name, start, end in zip(taken, marks, marks[1:], strict=False):
            taken[name].append(end - start)
    each = {name: median(times) * 1e6 for name, times in taken.items()}
    what = f"{replicas} replicas, {len(known):,} chunks known"
    return [
        Row("routing", f"choose by affinity, {what}", each["choose"], "us", each["dict"], "a look into a dict"),
        Row("routing", f"learn what was reported, {what}", each["heard"], "us", each["dict"], "a look into a dict"),
        Row("routing", f"choose by affinity, {what}", each["choose"], "us", each["least_load"], "choose by least load"),
    ]


def _talk(number: int) -> Prompt:
    system = tuple(range(1, 101))
    chunks = (*system, *(number * 1000 + place for place in range(CHUNKS - len(system))))
    return Prompt(chunks, CHUNKS * 16, 16, home=chunks[15], opening=number)


def _keys(turns: int) -> list[Row]:
    found = []
    for size in (2_000, 48_000):
        text = ("A question asked twice should be answered from memory. " * 1000)[:size]
        request = ChatRequest("m", ({"role": "user", "content": text},), kv_salt="tenant")
        taken, copied = [], []
        for _ in range(turns):
            started = time.perf_counter()
            prompt_of(request)
            between = time.perf_counter()
            text.encode()
            taken.append(between - started)
            copied.append(time.perf_counter() - between)
        what = f"keys of a prompt of {size:,} characters"
        note = f"{len(prompt_of(request).chunks)} chunks"
        found.append(Row("routing", what, median(taken) * 1e6, "us", median(copied) * 1e6, "encoding it", note))
    return found
