"""Whether one tenant learns from times what another asked: `python -m bench.attacks.timing --pairs 300`.

A victim asks one of every two prompts, which of them is drawn; then the attacker asks both, in an order that is drawn,
right after each other, over a real gateway with the demo engine. It measures the time to the first text and to the end,
several times, leaving nothing behind (`no-store`). What it guesses from that is the area under the curve: 0.5 is blind,
1 is certain; a figure below 0.5 is as good as one above, so the larger of it and its complement is told. Beside it the
share of pairs whose faster half was the victim's, in which drift of the machine cancels, told in the same way.

The control has the attacker use the victim's own key: what the method can see at all. Routes that share are measured
too: when two others have asked (`shared`), when the attacker vouches with a second key of its own (`sybil`), padded.
"""

import argparse
import asyncio
import json
import random
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx
import numpy as np
from numpy.typing import NDArray

from bench.http1 import Connection, Timed
from bench.processes import Server, gateway

CHAT = "/v1/chat/completions"
CHUNK = 10  # pairs between two turns of the victim
SETTLE_S = 0.4  # what is kept is written behind the answer
DRAWS = 2000
SHARING = """
[keys]
required = true
[cache]
pad_shared_hits = {padded}
[[cache.routes]]
model = "demo"
share_tenants = 2
"""
SORTS = "lazy eager shared sealed nested sparse frozen hollow silent mirrored folded tagged leased striped"
THINGS = (
    "ledger beacon harbour lantern bridge orchard compass kettle violin meadow anchor turbine pulley chimney saddle "
    "glacier pendulum trellis furnace barometer sextant loom anvil lattice quarry aqueduct"
)
WORDS = "cache block prefix token answer layer chain root tier store index scope request model prompt engine key"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a victim asks, and what an attacker asks to find out."""

    asked: str
    probe: str
    system: str = ""

    def body(self, text: str, *, keeps: bool) -> bytes:
        head = [{"role": "system", "content": self.system}] if self.system else []
        wish = {} if keeps else {"cache": {"no-store": True}}
        said = {"model": "demo", "messages": [*head, {"role": "user", "content": text}], "max_tokens": 96, **wish}
        return json.dumps({**said, "temperature": 0, "stream": True}).encode()


@dataclass(slots=True)
class Seen:
    """Seconds by pair: of the prompt that the victim asked, and of its twin."""

    tier: str
    first: list[tuple[float, float]] = field(default_factory=list)
    whole: list[tuple[float, float]] = field(default_factory=list)
    tiers: list[str] = field(default_factory=list)  # which served what the victim had asked, the first time


@dataclass(frozen=True, slots=True)
class Guess:
    """How well the time tells: by the curve, and by pairs, each with where it lies in 95 of 100 resamplings."""

    auc: float
    auc_between: tuple[float, float]
    paired: float


def prompts(tier: str, count: int, seed: int) -> list[Prompt]:
    """`count` of them, none of which helps another."""
    rng = random.Random(f"{tier} {seed}")
    if tier == "kv":
        systems = (" ".join(rng.choices(WORDS.split(), k=420)) for _ in range(count))
        return [Prompt("What is kept?", "How is a prefix found again?", system) for system in systems]
    names = [
        f"{sort} {thing} {maker}"
        for sort in SORTS.split()
        for thing in THINGS.split()
        for maker in ("cache", "index", "router")
    ]
    rng.shuffle(names)
    assert len(names) >= count, f"there are {len(names)} names only"
    own = [(f"What is a {name}?", f"Can you tell me what a {name} is?") for name in names[:count]]
    return [Prompt(asked, probe if tier == "semantic" else asked) for asked, probe in own]


async def attack(
    url: str, tier: str, victims: Sequence[str], attackers: Sequence[str], pairs: int, repeats: int, *, seed: int = 0
) -> Seen:
    """The victims ask half of all prompts; the last of the attackers measures, the others have asked before."""
    rng, seen = random.Random(seed), Seen(tier)
    all_of_them = prompts(tier, 2 * pairs, seed)
    twins = [tuple(rng.sample(all_of_them[at : at + 2], 2)) for at in range(0, 2 * pairs, 2)]
    for start in range(0, pairs, CHUNK):
        some = twins[start : start + CHUNK]
        async with _asking(url, victims) as others:
            for other in others:
                for theirs, _ in some:
                    await _ask(other, theirs.body(theirs.asked, keeps=True))
                await asyncio.sleep(SETTLE_S)
        async with _asking(url, attackers) as ours:  # anew: idle connections are closed
            for sybil in ours[:-1]:
                for pair in some:
                    for prompt in rng.sample(pair, 2):
                        await _ask(sybil, prompt.body(prompt.probe, keeps=True))
                await asyncio.sleep(SETTLE_S)
        async with _asking(url, attackers[-1:]) as (ours_now,):
            for pair in some:
                await _measure(ours_now, pair, repeats, rng, seen)
    return seen


async def _measure(ours: Connection, pair: tuple[Prompt, ...], repeats: int, rng: random.Random, seen: Seen) -> None:
    took: dict[Prompt, list[Timed]] = {prompt: [] for prompt in pair}
    for _ in range(repeats):
        for prompt in rng.sample(pair, 2):
            took[prompt].append(await _ask(ours, prompt.body(prompt.probe, keeps=False)))
    theirs, twin = (took[prompt] for prompt in pair)
    seen.first.append((median(one.first_s for one in theirs), median(one.first_s for one in twin)))
    seen.whole.append((median(one.total_s for one in theirs), median(one.total_s for one in twin)))
    seen.tiers.append(theirs[0].headers["x-twicetold-tier"] + " " + theirs[0].headers["x-twicetold-reason"])


async def _ask(connection: Connection, body: bytes) -> Timed:
    timed = await connection.post(body)
    assert timed.status == 200, timed.body
    return timed


@asynccontextmanager
async def _asking(url: str, keys: Sequence[str]) -> AsyncIterator[list[Connection]]:
    connections = [Connection(url, CHAT, header=f"authorization: Bearer {key}") for key in keys]
    for one in connections:
        await one.__aenter__()
    try:
        yield connections
    finally:
        for one in connections:
            await one.__aexit__(None, None, None)


def guess_of(times: Sequence[tuple[float, float]], *, draws: int = DRAWS) -> Guess:
    """What may be guessed from these times; 0.5 is nothing."""
    values = np.array(times)
    rng = np.random.default_rng(7)
    drawn = [_auc(values[rng.integers(0, len(values), len(values))]) for _ in range(draws)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    asked, other = values[:, 0], values[:, 1]
    paired = float(np.mean(asked < other) + 0.5 * np.mean(asked == other))
    return Guess(_auc(values), (float(low), float(high)), max(paired, 1 - paired))


def _auc(values: NDArray[np.float64]) -> float:
    """The chance that what was asked is the faster of two, ties half."""
    asked, other = np.sort(values[:, 0]), values[:, 1]
    less, not_more = np.searchsorted(asked, other, "left"), np.searchsorted(asked, other, "right")
    return float(np.mean((less + not_more) / 2) / len(asked))


def told(name: str, seen: Seen) -> str:
    """A row of the table."""
    cells = []
    for times in (seen.first, seen.whole):
        found = guess_of(times)
        auc = max(found.auc, 1 - found.auc)
        low, high = found.auc_between if found.auc >= 0.5 else (1 - found.auc_between[1], 1 - found.auc_between[0])
        asked, other = (median(column) * 1e3 for column in zip(*times, strict=True))
        cells.append(f"{auc:.3f} ({low:.3f} to {high:.3f}), pairs {found.paired:.3f}, {asked:.1f} and {other:.1f} ms")
    tiers = ", ".join(f"{seen.tiers.count(tier)} {tier}" for tier in sorted(set(seen.tiers)))
    return f"| {name} | {seen.tier} | {len(seen.first)} | {cells[0]} | {cells[1]} | {tiers} |"


def key(server: Server, name: str) -> str:
    """A new tenant's."""
    address, ours = f"{server.url}/admin/api/keys", {"x-twicetold-admin": "1"}
    answer = httpx.post(address, json={"name": name}, headers=ours, trust_env=False, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["key"])


@contextmanager
def serving(config: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder:
        path = Path(folder) / "twicetold.toml"
        path.write_text(config)
        with gateway("--model", "demo", "--config", str(path)) as server:
            yield server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--controls", type=int, default=60, help="pairs of the controls and of routes that share")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=["exact", "semantic", "kv", "shared"])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print("| route | tier | pairs | AUC by the first text | AUC by the whole | what served the victim's |", flush=True)

    def show(name: str, server: Server, tier: str, who: Sequence[Sequence[str]], pairs: int, repeats: int) -> None:
        seen = asyncio.run(attack(server.url, tier, who[0], who[1], pairs, repeats, seed=asked.seed))
        print(told(name, seen), flush=True)

    tiers = [tier for tier in ("exact", "semantic", "kv") if tier in asked.only]
    if tiers:
        with serving("") as server:
            for tier in tiers:
                theirs, ours = key(server, f"victim {tier}"), key(server, f"attacker {tier}")
                show("default", server, tier, ([theirs], [ours]), asked.pairs, asked.repeats)
                own = key(server, f"control {tier}")
                show("control: the victim's own key", server, tier, ([own], [own]), asked.controls, 1)
    for padded in ("false", "true") if "shared" in asked.only else ():
        with serving(SHARING.format(padded=padded)) as server:
            name = "shared, padded" if padded == "true" else "shared"
            keys = [key(server, f"k{n}") for n in range(6)]
            one = "one asked, and a second key of ours"
            show(f"{name}: two others asked", server, "exact", (keys[:2], keys[2:3]), asked.controls, 1)
            asked.seed += 1
            show(f"{name}: {one}", server, "exact", (keys[3:4], keys[4:]), asked.controls, 1)
            asked.seed += 1


if __name__ == "__main__":
    main()
