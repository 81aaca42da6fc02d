"""What is asked: a recorded hour of a chat service, and sessions drawn at random under shared system prompts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, count
from pathlib import Path
from random import Random

from backends.routing.prompt import Prompt
from bench.datasets import read_rows


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: its prompt to the router, its blocks to the engine (the same ids), and how long its answer is."""

    prompt: Prompt
    num_answer: int
    answer_blocks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """Turns that follow each other: the next one comes `pauses` after an answer has ended."""

    begins: float
    turns: tuple[Ask, ...]
    pauses: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """Sessions in order of their beginning."""

    name: str
    sessions: tuple[Session, ...]
    block_tokens: int

    def faster(self, times: float) -> "Workload":
        """The same sessions, beginning `times` as often."""
        hastened = (Session(s.begins / times, s.turns, s.pauses) for s in self.sessions)
        return Workload(self.name, tuple(hastened), self.block_tokens)


def mooncake(path: Path, most: int | None = None) -> Workload:
    """The Mooncake conversation trace: every request comes when it came, whatever became of the one before."""
    sessions = []
    for row in read_rows(path):
        blocks = tuple(number + 1 for number in row["block_hashes"])
        # No text, so no turns: what a conversation is known by is its second block; the first is everybody's.
        prompt = Prompt(blocks, row["input_tokens"], 512, home=blocks[0], opening=blocks[min(1, len(blocks) - 1)])
        sessions.append(Session(row["t_ms"] / 1000, (Ask(prompt, row["output_tokens"]),)))
        if len(sessions) == most:
            break
    return Workload("mooncake", tuple(sessions), 512)


@dataclass(frozen=True, slots=True)
class Shape:
    """What sessions look like. Tokens are means of exponential draws above a floor."""

    systems: int = 60  # system prompts; the k-th is asked for as often as 1/k
    system_tokens: tuple[int, int] = (400, 4000)
    documents: float = 0.3  # share of sessions that begin with a long text
    document_tokens: int = 6000
    user_tokens: int = 150
    answer_tokens: int = 250
    more_turns: float = 0.8  # chance that another turn follows
    pause_s: float = 20.0


BLOCK = 32


def sessions(name: str, num_sessions: int, per_s: float, shape: Shape, seed: int = 1) -> Workload:
    """Sessions that begin at random, `per_s` a second."""
    random, names = Random(f"{name} {seed}"), count(1)
    systems = [
        [next(names) for _ in range(random.randint(*shape.system_tokens) // BLOCK)] for _ in range(shape.systems)
    ]
    popularity = list(accumulate(1 / rank for rank in range(1, shape.systems + 1)))
    begins = 0.0
    drawn = []
    for _ in range(num_sessions):
        begins += random.expovariate(per_s)
        system = random.choices(systems, cum_weights=popularity)[0]
        turns = tuple(_turns(random, names, shape, system))
        drawn.append(Session(begins, turns, tuple(1 + random.expovariate(1 / shape.pause_s) for _ in turns[1:])))
    return Workload(name, tuple(drawn), BLOCK)


def _turns(random: Random, names: Iterator[int], shape: Shape, system: Sequence[int]) -> Iterator[Ask]:
    opening = next(names)
    chain, num_tokens = list(system), len(system) * BLOCK
    document = int(random.expovariate(1 / shape.document_tokens)) if random.random() < shape.documents else 0
    is_later = False
    while True:
        asked = 10 + document + int(random.expovariate(1 / shape.user_tokens))
        answered = 5 + int(random.expovariate(1 / shape.answer_tokens))
        document = 0
        num_tokens += asked
        chain += (next(names) for _ in range(num_tokens // BLOCK - len(chain)))
        after = tuple(next(names) for _ in range((num_tokens + answered) // BLOCK - len(chain)))
        home = chain[min(len(chain), 256 // BLOCK) - 1]
        yield Ask(Prompt(tuple(chain), num_tokens, BLOCK, home, opening, is_later), answered, after)
        is_later = True
        if random.random() > shape.more_turns:
            return
        num_tokens += answered
        chain += after
