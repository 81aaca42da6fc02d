"""Kill -9 of the gateway, of its engine and of Redis, at random moments under load; then look at what is left.

    python -m bench.faults.crash --kills 200 --seed 7

    house     what stands in it                                   who is killed
    file      answers in a file                                   the gateway, sometimes while it starts
    redis     answers in Redis, which appends them to its file    the gateway, Redis
    engine    answers in a file, the demo model on its engine     the gateway, the engine
    meaning   answers in a file, the embedder and its index       the gateway, sometimes while it loads

An answer is *acknowledged*
    put with `kept: true`, `complete`   the moment its client hears of it: the gateway said that its store has it
    anything else                       half a second after its client had the whole of it: the proxy tells first, and
                                        writes a moment later (before anything but the gateway is killed: at once)
After every kill, once all is up again: every answer acknowledged since the kill before, and some older ones, is had
from the store alone and says all that was said, but for the names and times drawn for each response; whatever else was
asked is right or absent; the engine says warm what it says cold; the ledger has every request once; no file was set
aside, and the database is sound. At the end of a house the same is asked of every question there was, and the store
holds just the answers that were found.
"""

import argparse
import asyncio
import json
import math
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from bench.faults.parts import MortalGateway, MortalRedis
from bench.faults.traffic import CHAT, Book, Clients, Kind, Said, local_body, said_of, text_of, unlike
from bench.figures import median
from bench.http1 import Connection, Timed
from bench.processes import upstream

MOMENT_S = 0.5
OLDER = 60  # answers of earlier times that are looked at after a kill
PROMPTS = 18
WITHIN_S = 120.0  # until figures that follow are what they should be, on a machine with much else to do
ONLY_STORED = "cache-control: only-if-cached"
SHARES = {
    "file/gateway": 0.30,
    "redis/gateway": 0.25,
    "redis/redis": 0.25,
    "engine/gateway": 0.05,
    "engine/engine": 0.10,
    "meaning/gateway": 0.05,
}
LANES: dict[str, tuple[Kind, ...]] = {
    "file": ("chat", "chat", "chat", "put"),
    "engine": ("chat", "chat", "put", "local", "local"),
    "redis": ("chat", "chat", "chat", "put"),
    "meaning": ("chat", "put"),
}
PARTS = {"file": (), "engine": ("local",), "redis": ("redis",), "meaning": ("semantic",)}  # that have to be ready again
ENGINE = "[engine]\nexact = true\nthreads = 1\nkv_mb = 8\nkv_redis = 'off'\n"
CONFIG = {
    "file": "[cache]\nsemantic = false\n",
    "engine": f"{ENGINE}[cache]\nsemantic = false\n",
    "redis": "[cache]\nsemantic = false\n",
    "meaning": "[cache]\nsemantic = true\n",
}


@dataclass(slots=True)
class Tally:
    """Of one kind of kill."""

    kills: int = 0
    while_starting: int = 0
    acknowledged: int = 0  # answers that had to be there, since the kill before
    looked_at: int = 0  # answers asked for afterwards, older ones included
    at_once: int = 0  # of the acknowledged: put, and confirmed within the moment before the kill
    in_memory: int = 0  # put, and confirmed to be in memory alone
    late: int = 0  # told within the moment before the kill, and not acknowledged
    late_kept: int = 0
    broken: int = 0  # requests cut off
    refused: int = 0  # requests that ended in an error
    back_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Counted:
    """One look at the index and at the store it is made from, where every answer is to a question."""

    vectors: int  # in the index
    kept: int  # in the store
    questions: int  # there, that are to have one
    unread: int  # there, with words that the embedder does not know: they are marked, and have none

    def __str__(self) -> str:
        return (
            f"{self.vectors} vectors in the index, {self.kept} in the store, {self.questions} questions to embed there"
            f" and {self.unread} that cannot be read"
        )

    def is_whole(self, entries: int) -> bool:
        """Whether nothing is missing and nothing is too much, of so many answers."""
        return self.vectors == self.kept == self.questions and self.questions + self.unread == entries


def count_vectors(file: Path, vectors: int) -> Counted:
    """The store's own count beside that of the index. A vector of no length marks what cannot be read."""
    sql = """SELECT count(nullif(length(vector), 0)), coalesce(sum(vector IS NULL OR length(vector) > 0), 0),
        coalesce(sum(length(vector) = 0), 0) FROM entries WHERE question IS NOT NULL"""
    with closing(sqlite3.connect(file, timeout=10)) as connection:
        return Counted(vectors, *connection.execute(sql).fetchone())


def late_of(told_s: Mapping[int, float], sure: Set[int], since_s: float) -> list[int]:
    """What was told too late to have to be there."""
    return [number for number, at_s in told_s.items() if at_s > since_s and number not in sure]


class House:
    """What is killed, and the book of what was said in it."""

    def __init__(self, name: str, gateway: MortalGateway, redis: MortalRedis | None, draws: Random) -> None:
        self.name = name
        self.gateway = gateway
        self.redis = redis
        self.draws = draws
        self.book = Book(varies=name != "meaning")  # every answer there is to have a vector
        self.counted: list[tuple[Counted, bool]] = []  # after each start, of an index; whether it was whole

    def open(self) -> None:
        if self.redis is not None:
            self.redis.start()
        self.gateway.start()
        self.gateway.wait(*PARTS[self.name])
        if self.name == "engine":
            asyncio.run(self._learn())

    async def _learn(self) -> None:
        """What the model says to each prompt, cold."""
        async with Connection(self.gateway.url, CHAT) as lane:
            for number in range(PROMPTS):
                text = text_of(await lane.post(local_body(number, [])))
                assert text, "the demo model says nothing"
                self.book.local[number] = text
                self.book.sent += 1

    def round(self, victim: str, tally: Tally) -> None:
        """Load, a kill, a start, and a look at what is left."""
        book, draws = self.book, self.draws
        first, fates, in_memory = len(book.kinds), dict(book.fates), book.in_memory
        told_before = set(book.told_s)
        killed_s = asyncio.run(self._load_and_kill(victim))
        began_s = time.monotonic()
        if victim == "gateway":
            self._revive(tally)
        elif victim == "redis":
            assert self.redis is not None
            self.redis.start()
        self.gateway.wait(*PARTS[self.name])
        tally.back_s.append(time.monotonic() - began_s)
        tally.kills += 1
        tally.broken += book.fates.get("broken", 0) - fates.get("broken", 0)
        tally.refused += book.fates.get("refused", 0) - fates.get("refused", 0)
        new = {number: at_s for number, at_s in book.told_s.items() if number not in told_before}
        since_s = killed_s - MOMENT_S if victim == "gateway" else math.inf
        late = late_of(new, book.sure, since_s)
        for number in late:
            del book.told_s[number]  # it may be there or not
        older = draws.sample(sorted(told_before), min(OLDER, len(told_before)))
        found = asyncio.run(self.look([*range(first, len(book.kinds)), *older]))
        for number in late:
            if number in found:
                book.told_s[number] = killed_s  # it is, so it has to stay
        tally.acknowledged += len(new) - len(late)
        tally.at_once += sum(at_s > since_s for at_s in new.values()) - len(late)
        tally.in_memory += book.in_memory - in_memory
        tally.looked_at += len(older) + len(new)
        tally.late += len(late)
        tally.late_kept += sum(number in found for number in late)
        if book.local:
            asyncio.run(self._warm_and_cold())
        self._check_figures()

    async def _load_and_kill(self, victim: str) -> float:
        seed, tiers = self.draws.randrange(2**32), ["exact", "semantic"] if self.name == "meaning" else ["exact"]
        clients = Clients(self.gateway.url, self.book, LANES[self.name], seed, tiers)
        running = asyncio.create_task(clients.run())
        await asyncio.sleep(self.draws.uniform(0.1, 1.5))
        killed_s = time.monotonic()
        if victim == "gateway":
            clients.stop()  # nobody comes again to a door that is gone
            self.book.faults += await asyncio.to_thread(self.gateway.kill)
        elif victim == "engine":
            while not self.gateway.kill_engine():  # noqa: ASYNC110 - it is being started
                await asyncio.sleep(0.01)
        elif self.redis is not None:
            await asyncio.to_thread(self.redis.kill)
        if victim != "gateway":
            await asyncio.sleep(self.draws.uniform(0.0, 0.7))  # they go on asking
            clients.stop()
        await running
        return killed_s

    def _revive(self, tally: Tally) -> None:
        self.book.sent = 0
        self.gateway.start()
        if self.draws.random() < 0.15:
            tally.while_starting += 1
            time.sleep(self.draws.uniform(0.0, 3.0))
            self.book.faults += self.gateway.kill()
            self.gateway.start()

    async def look(self, numbers: Sequence[int]) -> set[int]:
        """Ask the store alone; which were there. What is wrong, or should have been there, is a fault."""
        found: set[int] = set()
        waiting = iter(numbers)

        async def lane() -> None:
            async with Connection(self.gateway.url, CHAT, header=ONLY_STORED) as line:
                for number in waiting:
                    timed = await line.post(self.book.chat(number))
                    self.book.sent += 1
                    said = said_of(timed)
                    kind = self.book.kinds[number]
                    if said is not None:
                        found.add(number)
                        if wrong := self._wrong(number, timed, said):
                            self.book.faults.append(f"{kind} {number}: {wrong}")
                    elif timed.status != 504:
                        self.book.faults.append(f"{kind} {number}: status {timed.status}: {timed.body[:200]!r}")
                    elif number in self.book.told_s:
                        self.book.faults.append(f"{kind} {number} was acknowledged and is gone")
                        del self.book.told_s[number]  # said once; the figures are those of what is there

        async with asyncio.TaskGroup() as lanes:
            for _ in range(4):
                lanes.create_task(lane())
        return found

    def _wrong(self, number: int, timed: Timed, said: Said) -> str:
        """What is wrong with a stored answer: all of it has to be what was told, or would have been."""
        tier, book = timed.headers.get("x-twicetold-tier"), self.book
        if tier != "exact":
            return f"it comes from {tier}"
        told = book.said.get(number)
        return unlike(said, book.reply(number) if told is None else told)

    async def _warm_and_cold(self) -> None:
        async with Connection(self.gateway.url, CHAT) as lane:
            for number in self.draws.sample(sorted(self.book.local), 3):
                for tiers in (["kv"], ["kv"], []):
                    timed = await lane.post(local_body(number, tiers))
                    self.book.sent += 1
                    text = text_of(timed)
                    if text != self.book.local[number]:
                        wrong = f"{text!r} ({timed.status}) instead of {self.book.local[number]!r}"
                        self.book.faults.append(f"prompt {number} with {tiers}: {wrong}")

    def _check_figures(self) -> None:
        """The ledger, the index, the blocks, the files."""
        deadline = time.monotonic() + WITHIN_S
        while (wrong := self._odd(self.gateway.stats())) and time.monotonic() < deadline:
            time.sleep(0.2)
        self.book.faults += [f"after life {self.gateway.lives}: {one}" for one in wrong]
        if self.name == "meaning":
            stats = self.gateway.stats()
            counted = self._count(stats)
            self.counted.append((counted, counted.is_whole(stats["entries"])))
        self.book.faults += [f"set aside: {path.name}" for path in self.gateway.data_dir.rglob("*.corrupt-*")]
        if self.redis is None:
            with closing(sqlite3.connect(self.gateway.data_dir / "answers.db", timeout=10)) as connection:
                (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if verdict != "ok":
                    self.book.faults.append(f"answers.db: {verdict}")

    def _odd(self, stats: dict[str, Any]) -> list[str]:
        """What does not add up."""
        odd = []
        tiers = {name: tier["requests"] for name, tier in stats["tiers"].items()}
        if sum(tiers.values()) + stats["errors"] != self.book.sent:
            odd.append(f"{tiers} and {stats['errors']} errors are not the {self.book.sent} requests sent")
        if not len(self.book.told_s) <= stats["entries"] <= len(self.book.kinds):
            odd.append(
                f"{stats['entries']} entries; {len(self.book.told_s)} acknowledged, {len(self.book.kinds)} asked"
            )
        if self.name == "meaning" and not (counted := self._count(stats)).is_whole(stats["entries"]):
            odd.append(f"{stats['entries']} entries: {counted}")
        if (engine := stats["engine"]) is not None:
            kv = engine["kv"]
            blocks = {name: kv[f"blocks_{name}"] for name in ("free", "cached", "leased", "total")}
            if blocks["free"] + blocks["cached"] + blocks["leased"] != blocks["total"] or blocks["leased"]:
                odd.append(f"blocks do not add up: {blocks}")
        if stats["redis"] is not None and stats["redis"]["waiting"]:
            odd.append(f"{stats['redis']['waiting']} writes still wait for Redis")
        return odd

    def _count(self, stats: dict[str, Any]) -> Counted:
        return count_vectors(self.gateway.data_dir / "answers.db", stats["vectors"])

    def start_once_more(self) -> None:
        """End it the polite way, start it, and look at its figures."""
        self.gateway.close()
        self.book.sent = 0
        self.gateway.start()
        self.gateway.wait(*PARTS[self.name])
        self._check_figures()

    def audit(self) -> int:
        """Every question there was; how many have an answer, which is how many the store holds."""
        found = asyncio.run(self.look(range(len(self.book.kinds))))
        entries = self.gateway.stats()["entries"]
        if entries != len(found):
            self.book.faults.append(f"{len(found)} answers found, {entries} in the store")
        return len(found)

    def close(self) -> None:
        self.gateway.close()
        if self.redis is not None:
            self.redis.kill()


@contextmanager
def house_of(name: str, folder: Path, upstream_url: str, draws: Random) -> Iterator[House]:
    """A house, open; ended at the end."""
    data_dir, config = folder / name, folder / f"{name}.toml"
    data_dir.mkdir()
    config.write_text(CONFIG[name], "utf-8")
    flags, redis = ["--config", str(config), "--upstream", upstream_url], None
    if name == "redis":
        (folder / "appended").mkdir()
        redis = MortalRedis(folder / "appended")
        flags += ["--redis", redis.url]
    if name == "engine":
        flags += ["--model", "demo"]
    house = House(name, MortalGateway(data_dir, flags), redis, draws)
    try:
        house.open()
        yield house
    finally:
        house.close()


def shared_out(kills: int) -> dict[str, int]:
    """How many kills each victim gets, `kills` in all."""
    counts = {name: int(kills * share) for name, share in SHARES.items()}
    first = next(iter(counts))
    counts[first] += kills - sum(counts.values())
    return counts


def run(
    counts: dict[str, int], seed: int, until_s: float
) -> tuple[dict[str, Tally], list[str], dict[str, tuple[int, int, int]]]:
    """Kill so often. Tallies by victim, what was wrong, and (asked, told, found) at the end of each house."""
    draws = Random(seed)
    tallies = {name: Tally() for name in counts}
    faults: list[str] = []
    ends: dict[str, tuple[int, int, int]] = {}
    with tempfile.TemporaryDirectory(prefix="twicetold-crash-") as folder, upstream() as backend:
        for name in dict.fromkeys(name.partition("/")[0] for name in counts):
            victims = [victim for victim, count in counts.items() if victim.startswith(name) for _ in range(count)]
            draws.shuffle(victims)
            if not victims:
                continue
            with house_of(name, Path(folder), backend.url, draws) as house:
                for at, victim in enumerate(victims):
                    if time.monotonic() > until_s:
                        break
                    house.round(victim.partition("/")[2], tallies[victim])
                    if house.book.faults:
                        print("\n".join(house.book.faults), file=sys.stderr)
                        faults += [f"{name}: {fault}" for fault in house.book.faults]
                        house.book.faults.clear()
                    if at % 5 == 4:
                        print(f"{name}: {at + 1} of {len(victims)} kills, {len(faults)} faults", file=sys.stderr)
                found = house.audit()
                ends[name] = len(house.book.kinds), len(house.book.told_s), found
                if house.counted:
                    house.start_once_more()
                    whole = sum(is_whole for _, is_whole in house.counted)
                    print(f"{name}: the index was whole after {whole} of {len(house.counted)} starts; in the end,"
                          f" {house.counted[-1][0]}")  # fmt: skip
                faults += [f"{name}: {fault}" for fault in house.book.faults]
    return tallies, faults, ends


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.faults.crash", description="Kill, start, and compare.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", default="", help=f"of {', '.join(SHARES)}: all kills are of this one")
    parser.add_argument("--house", action="append", choices=tuple(LANES), help="of all those kills, these alone")
    parser.add_argument("--minutes", type=float, default=600.0, help="and then no further kill")
    options = parser.parse_args(argv)
    counts = {options.only: options.kills} if options.only else shared_out(options.kills)
    counts = {
        name: count for name, count in counts.items() if not options.house or name.partition("/")[0] in options.house
    }
    began_s = time.monotonic()
    tallies, faults, ends = run(counts, options.seed, began_s + 60 * options.minutes)
    heads = (
        "killed",
        "kills (while starting)",
        "acknowledged, lost",
        "looked at, wrong",
        "puts confirmed in the last half second",
        "others told in it, kept",
        "puts in memory alone",
    )
    print(f"| {' | '.join((*heads, 'cut off', 'errors', 'up again'))} |\n|{'---|' * 10}")
    for name, one in tallies.items():
        mine = [fault for fault in faults if fault.startswith(name.partition("/")[0])]
        lost = sum("is gone" in fault for fault in mine)
        cells = (
            name,
            f"{one.kills} ({one.while_starting})",
            f"{one.acknowledged:,}, {lost}",
            f"{one.looked_at:,}, {len(mine) - lost}",
            f"{one.at_once:,}",
            f"{one.late:,}, {one.late_kept:,}",
            f"{one.in_memory}",
            f"{one.broken}",
            f"{one.refused}",
            f"{median(one.back_s):.1f} s" if one.back_s else "",
        )
        print(f"| {' | '.join(cells)} |")
    for name, (asked, told, found) in ends.items():
        print(f"{name}: {asked:,} questions, {told:,} acknowledged, {found:,} found in the end")
    kills = sum(one.kills + one.while_starting for one in tallies.values())
    print(f"{kills} kills in {time.monotonic() - began_s:.0f} s, {len(faults)} faults")
    print(json.dumps(faults[:50], indent=1) if faults else "nothing was lost, nothing was wrong")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
