"""What is asked: the same few questions in every shape, in several wordings, after several histories."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from bench.inprocess import Answer
from bench.isolation.askers import Asker
from bench.isolation.marking import vector_of

PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "embeddings": "/v1/embeddings",
}
THINGS = (
    "block table", "bloom filter", "radix tree", "page cache", "ring buffer", "hash chain", "vector clock",
    "write ahead log", "merkle tree", "suffix array", "skip list", "token bucket", "circuit breaker", "leader election",
    "checkpoint", "snapshot", "deadlock", "semaphore", "spin lock", "memory barrier", "garbage collector", "lease",
)  # fmt: skip
WORDINGS = (
    "What is a {}?", "what is a {}", "Can you explain what a {} is?", "Please tell me what a {} is.", "What's a {}?",
    "Could you please explain what a {} is?",
)  # fmt: skip
HISTORIES: tuple[tuple[tuple[str, str], ...], ...] = (
    (),
    (),
    (("user", "Hello!"), ("assistant", "Hello, what would you like to know?")),
    (("user", "Good morning."), ("assistant", "Good morning. How can I help?")),
    (("system", "You are brief."),),
)


@dataclass(frozen=True, slots=True)
class Question:
    """A thing asked about, how, after what, and in which shape."""

    shape: str
    thing: str
    wording: str = WORDINGS[0]
    history: tuple[tuple[str, str], ...] = ()
    is_streamed: bool = False

    @property
    def text(self) -> str:
        return self.wording.format(self.thing)

    @property
    def path(self) -> str:
        return PATHS[self.shape]

    def body(self, asker: Asker, **more: Any) -> dict[str, Any]:
        """As its shape has it, from behind the asker's walls."""
        own: dict[str, Any] = {"model": asker.model, **_SAID[self.shape](self), **more}
        if self.shape != "embeddings" and self.is_streamed:
            own["stream"] = True
        if asker.namespace and asker.wall == "cache":
            own["cache"] = {**own.get("cache", {}), "namespace": asker.namespace}
        if asker.salt:
            own["cache_salt"] = asker.salt
        return own

    def is_asked_like(self, other: "Question") -> bool:
        """Whether the two are one request, however they are delivered."""
        return replace(self, is_streamed=False) == replace(other, is_streamed=False)


def draw(rng: random.Random, shapes: tuple[str, ...] = tuple(PATHS)) -> Question:
    shape = rng.choice(shapes)
    history = rng.choice(HISTORIES) if shape in ("chat", "responses", "messages") else ()
    wording = WORDINGS[0] if rng.random() < 0.5 else rng.choice(WORDINGS)
    return Question(shape, rng.choice(THINGS), wording, history, rng.random() < 0.3)


def near(rng: random.Random, question: Question) -> Question:
    """The same, or in other words, or after something else; streamed or not."""
    near = replace(question, is_streamed=rng.random() < 0.3)
    match rng.randrange(6):
        case 0 | 1:
            return replace(near, wording=rng.choice(WORDINGS))
        case 2 if question.shape in ("chat", "responses", "messages"):
            return replace(near, history=rng.choice(HISTORIES))
    return near


def said_in(answer: Answer) -> str:
    """All text of an answer in one, so that no mark is cut in two by the pieces of a stream."""
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        return answer.body.decode("utf-8", "replace")
    pieces: list[str] = []
    for line in answer.body.split(b"\n"):
        if line.startswith(b"data: {"):
            event = orjson.loads(line[6:])
            if not str(event.get("type", "")).endswith(("done", "added", "completed")):  # which say it all again
                _pieces(event, pieces)
    return "".join(pieces)


def _pieces(value: Any, found: list[str]) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str) and key in ("content", "text", "delta"):
                found.append(item)
            elif isinstance(item, dict | list):
                _pieces(item, found)
    elif isinstance(value, list):
        for item in value:
            _pieces(item, found)


def has_own_vectors(answer: Answer, asker: Asker, question: Question) -> bool:
    """Whether each vector is the one that this asker would get."""
    rows = answer.json()["data"]
    return [row["embedding"] for row in rows] == [vector_of(asker.mark, item) for item in _items(question)]


def _items(question: Question) -> list[str]:
    return [question.text, question.thing]


def _turns(question: Question) -> list[dict[str, str]]:
    told = [{"role": role, "content": text} for role, text in question.history]
    return [*told, {"role": "user", "content": question.text}]


def _messages(question: Question) -> dict[str, Any]:
    told = {"max_tokens": 64, "messages": [one for one in _turns(question) if one["role"] != "system"]}
    system = [text for role, text in question.history if role == "system"]
    return {**told, "system": system[0]} if system else told


_SAID: Mapping[str, Any] = {
    "chat": lambda question: {"messages": _turns(question)},
    "completions": lambda question: {"prompt": question.text},
    "responses": lambda question: {"input": _turns(question)},
    "messages": _messages,
    "embeddings": lambda question: {"input": _items(question), "encoding_format": "float"},
}
