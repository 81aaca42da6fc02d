"""Nobody gets another's answer by the express road: random walls, on a few connections that everybody shares."""

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.gateway.express.serving import Said, asking, town
from tests.upstream import running_upstream

ASKED = 2_500
CREDENTIALS = ("Authorization: Bearer {}", "X-Api-Key: {}", "Api-Key: {}")
KEYS = ("sk-a", "sk-A", "sk-a.", "null", "*", "..")
NAMESPACES = ("", "n", "N", "null", "n.m")
SALTS = ("", "n", "s", "null")
MODELS = ("walled", "Walled")
TEXTS = ("What is a wall?", "What is a Wall?")
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


@dataclass(frozen=True)
class Asked:
    """What parts two answers, and how it is said."""

    key: str
    namespace: str
    salt: str
    model: str
    text: str
    path: str
    credential: str = CREDENTIALS[0]
    is_streamed: bool = False
    is_header: bool = False  # the namespace is another gateway's header

    @property
    def walls(self) -> tuple[str, ...]:
        return self.key, self.namespace, self.salt, self.model, self.text, self.path

    def as_bytes(self) -> bytes:
        body: dict[str, Any] = {"model": self.model, **asking(self.text), "stream": self.is_streamed}
        if self.path == MESSAGES:
            body["max_tokens"] = 64
        if self.salt:
            body["cache_salt"] = self.salt
        lines = [f"POST {self.path} HTTP/1.1", "Host: 127.0.0.1", self.credential.format(self.key)]
        if self.namespace and self.is_header:
            lines.append(f"Helicone-Cache-Seed: {self.namespace}")
        elif self.namespace:
            body["cache"] = {"namespace": self.namespace}
        said = json.dumps(body).encode()
        lines += ["Content-Type: application/json", f"Content-Length: {len(said)}", "", ""]
        return "\r\n".join(lines).encode() + said


def drawn(rng: Random) -> Asked:
    """Walls that differ in one thing or another; half of all requests are of the first few, so that they come again."""
    return Asked(
        rng.choice(KEYS),
        rng.choice(NAMESPACES) if rng.random() < 0.3 else "",
        rng.choice(SALTS) if rng.random() < 0.2 else "",
        rng.choice(MODELS) if rng.random() < 0.2 else MODELS[0],
        rng.choice(TEXTS) if rng.random() < 0.2 else TEXTS[0],
        MESSAGES if rng.random() < 0.1 else CHAT,
        rng.choice(CREDENTIALS),
        rng.random() < 0.4,
        rng.random() < 0.5,
    )


def number_in(said: Said) -> str:
    """Which generation an answer is of: no two say the same."""
    assert said.status == 200, said.body
    text = said.body.decode()
    return text[text.index("<") + 1 : text.index(">")]


async def test_no_answer_crosses_a_wall_on_the_express_road(tmp_path: Path) -> None:
    rng, of_walls = Random(7), dict[tuple[str, ...], str]()
    with running_upstream() as upstream:
        upstream.app.model_names = MODELS
        upstream.app.next_modes.extend(f"say:<{number}>" for number in range(ASKED))
        async with town(tmp_path, upstream) as place:
            callers = [await place.connect() for _ in range(3)]
            for _ in range(ASKED):
                asked = drawn(rng)
                number = number_in(await rng.choice(callers).ask(asked.as_bytes()))
                assert of_walls.setdefault(asked.walls, number) == number, asked
            given = place.given

        assert len(set(of_walls.values())) == len(of_walls) == upstream.counters()["requests"]
        assert given > ASKED / 4  # it was this road that was walked
