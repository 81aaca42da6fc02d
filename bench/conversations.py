"""The looser mode on conversations, and how much of what it serves is wrong: `python -m bench conversations`.

Files: every turn of every conversation goes through a gateway that starts empty and answers what the file's own next
message says, once with histories strict and once loose. Beside it what a cache does that looks at last turns alone:
it serves the answer of the first equal one (equal but for case and marks; and equal in bare form).

Replays: conversations of two turns made of questions with several wordings (streams, where one class has one answer).
The same two questions in other words and after another answer; the last one after another question; and two that would
be wrong: another last one, the one with the most words in common among them.

"Careless" is the looser mode without its care for the history: a last turn that stands alone by itself is shared.

An answer counts as wrong when words and vectors say it is unlike the recorded one, and as unclear where they do not
tell; what is served is printed, to be read. DATA is the folder `shared/data` beside the repository, no part of it.
"""

import asyncio
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from backends.chat import ChatRequest, Choice, Completion, collect
from backends.fake import ScriptedBackend, say
from backends.routing.router import Router
from bench.datasets import conversations_of, find, read_rows
from bench.rows import Row, Scale
from embeddings.batcher import EmbeddingBatcher
from embeddings.index import VectorIndex
from embeddings.lexical import bare
from embeddings.local import SentenceTransformerEmbedder
from embeddings.text import has_han, words
from gateway.answers.memory import MemoryAnswers
from gateway.answers.sqlite import SqliteAnswers
from gateway.answers.tiered import TieredAnswers
from gateway.controls import Controls
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.outcome import Outcome
from gateway.pipeline import Pipeline
from gateway.policy import History, Rules
from gateway.semantic.comparing import same_answer
from gateway.semantic.labels import LabelStore
from gateway.semantic.standalone.base import Rewriter
from gateway.semantic.standalone.rules import ByRules
from gateway.semantic.standalone.talk import Talk, Topics, Turn
from gateway.semantic.tier import Choices, Semantic
from gateway.semantic.verifiers import Verifiers

FILES = ("kdconv_zh", "mtbench101", "mtbench_vicuna_prompts")
STREAMS = ("disfl_qa", "spider", "gptcache_mock_replay", "clinc150_static", "xquad_en_zh")
PAIRS = 200  # of two questions, from each stream
SHOWN = 30  # hits that are printed of each file


@dataclass(frozen=True, slots=True)
class Case:
    """A conversation up to a user's turn, and what is answered."""

    messages: tuple[dict[str, str], ...]
    answer: str

    @property
    def last(self) -> str:
        return self.messages[-1]["content"]

    @property
    def talk(self) -> Talk:
        *history, last = self.messages
        turns = (Turn("user" if one["role"] == "user" else "assistant", one["content"]) for one in history)
        return Talk(b"{}", tuple(turns), last["content"])


@dataclass(frozen=True, slots=True)
class Hit:
    """A case that was served an answer; None: nobody can tell whether it was right."""

    case: Case
    said: str
    is_right: bool | None


class Careless(ByRules):
    """Looks at the last turn, and not at what was asked before it."""

    def topics(self, _talk: Talk, /) -> Topics:
        return ()


class Gateway:
    """A gateway in this process, whose backend says what the case says."""

    def __init__(self, pipeline: Pipeline, semantic: Semantic, backend: ScriptedBackend) -> None:
        self._pipeline = pipeline
        self.semantic = semantic
        self._backend = backend

    async def ask(self, case: Case, tenant: str = "bench") -> tuple[Outcome, str]:
        """Ask, read to the end, and let what is owed be done."""
        self._backend.script = say(case.answer or "-")
        request = ChatRequest("scripted", case.messages, {"temperature": 0})
        reply = await self._pipeline.answer(request, tenant, "", Controls())
        text = collect([delta async for delta in reply.deltas]).text
        await self._pipeline.close()
        return reply.outcome, text


@asynccontextmanager
async def gateway(
    history: History, batcher: EmbeddingBatcher, rewriter: Rewriter | None = None
) -> AsyncIterator[Gateway]:
    """An empty gateway with the default rules, but for `history`, and without samples: a label costs a generation."""
    with tempfile.TemporaryDirectory() as folder:
        answers = TieredAnswers(MemoryAnswers(1 << 28), SqliteAnswers(Path(folder) / "a.db", budget_bytes=1 << 30))
        labels = LabelStore(Path(folder) / "labels.db", per_tenant=100_000)
        semantic = Semantic(
            answers, batcher, VectorIndex, labels, b"b" * 32, Choices(), Verifiers(), rewriter=rewriter or ByRules()
        )
        backend = ScriptedBackend()
        router = Router([backend])
        rules = Rules(history=history, shadow_rate=0.0)
        pipeline = Pipeline(
            secret=b"b" * 32, router=router, answers=answers, semantic=semantic, rules=rules, ledger=Ledger(Metrics())
        )
        await answers.open()
        await semantic.open()
        await router.open()
        try:
            yield Gateway(pipeline, semantic, backend)
        finally:
            await router.close()
            await semantic.learning.close()
            await semantic.lanes.close()
            await answers.close()


def run(scale: Scale) -> list[Row]:
    """The rows of `python -m bench conversations`."""
    return asyncio.run(_run(scale))


async def _run(scale: Scale) -> list[Row]:
    batcher = EmbeddingBatcher(lambda: SentenceTransformerEmbedder().load(), timeout_s=60)
    rows: list[Row] = []
    try:
        await batcher.ready()
        for name in FILES:
            rows += await _file(name, cases_of(name)[:: scale.of(1, 20)], batcher)
        for name in STREAMS:
            rows += await _replays(name, scale.of(PAIRS, 10), batcher)
    finally:
        await batcher.close()
    return rows


# -- files -------------------------------------------------------------------------------------------------------------


def cases_of(name: str) -> list[Case]:
    """Every turn of a user that has something before it, in the file's order."""
    return list(_cases(read_rows(find(name, "conversations"))))


def _cases(rows: Iterator[dict[str, object]]) -> Iterator[Case]:
    for talk in conversations_of(rows):
        said: list[dict[str, str]] = []
        for turn in talk.turns:
            answer = turn.recorded["content"] if turn.recorded is not None else ""
            said.append({"role": "user", "content": turn.user["content"]})
            if len(said) > 1:
                yield Case(tuple(said), answer)
            if answer:
                said.append({"role": "assistant", "content": answer})


async def _file(name: str, cases: Sequence[Case], batcher: EmbeddingBatcher) -> list[Row]:
    flaws = Counter(ByRules().flaw(case.talk) for case in cases)
    print(f"\n== {name}: {len(cases)} turns; stand alone {flaws[None]}; not: {dict(flaws.most_common())}")
    plain = await _last_turns(cases, batcher, lambda text: " ".join(words(text)))
    worded = await _last_turns(cases, batcher, bare)
    strict = await _served(cases, "strict", batcher)
    loose = await _served(cases, "loose", batcher)
    careless = await _served(cases, "loose", batcher, Careless())
    rows = [Row("conversations", f"{name}: last turns the rules accept", 100 * flaws[None] / len(cases), "%")]
    for what, hits in (
        ("last turn alone", plain),
        ("bare last turn alone", worded),
        ("strict", strict),
        ("loose", loose),
        ("careless", careless),
    ):
        count = Counter(hit.is_right for hit in hits)
        note = f"{count[True]} right, {count[False]} wrong, {count[None]} unclear of {len(cases)} turns"
        print(f"  {what}: {len(hits)} served, {note}")
        rows.append(Row("conversations", f"{name}: served, {what}", len(hits), "turns", note=note))
    for hit in [*loose, *careless][:SHOWN]:
        said = [one["content"][:60] for one in hit.case.messages if one["role"] == "user"]
        print(f"    {hit.is_right}: {said}\n      recorded {hit.case.answer[:200]}\n      served {hit.said[:200]}")
    return rows


async def _served(
    cases: Sequence[Case], history: History, batcher: EmbeddingBatcher, rewriter: Rewriter | None = None
) -> list[Hit]:
    hits = []
    async with gateway(history, batcher, rewriter) as here:
        for case in cases:
            outcome, said = await here.ask(case)
            if outcome.tier == "semantic":
                hits.append(Hit(case, said, await _is_right(case.answer, said, batcher)))
    return hits


async def _last_turns(cases: Sequence[Case], batcher: EmbeddingBatcher, form: object) -> list[Hit]:
    """What a cache would serve that looks at nothing but the last turn."""
    assert callable(form)
    stored: dict[str, str] = {}
    hits = []
    for case in cases:
        key = form(case.last)
        if key and key in stored:
            hits.append(Hit(case, stored[key], await _is_right(case.answer, stored[key], batcher)))
        elif key and case.answer:
            stored[key] = case.answer
    return hits


async def _is_right(recorded: str, served: str, batcher: EmbeddingBatcher) -> bool | None:
    """By the file's own answer. MiniLM reads no Chinese: there equal words are right and all else is unlike."""
    if not recorded:
        return None
    if has_han(recorded) or has_han(served):
        return words(recorded) == words(served)
    return await same_answer(_completion(recorded), _completion(served), batcher.embed)


def _completion(text: str) -> Completion:
    return Completion((Choice({"role": "assistant", "content": text}, "stop"),))


# -- replays -----------------------------------------------------------------------------------------------------------


async def _replays(name: str, pairs: int, batcher: EmbeddingBatcher) -> list[Row]:
    """Of two questions in a row: which changes are served, and how many should not have been."""
    by_class: dict[str, list[str]] = defaultdict(list)
    for row in read_rows(find(name, "streams")):
        if row["prompt"] not in by_class[str(row["class_id"])]:
            by_class[str(row["class_id"])].append(row["prompt"])
    several = [texts for texts in by_class.values() if len(texts) > 1]
    chance = random.Random(7)
    rules = ByRules()
    alone = [texts for texts in several if rules.flaw(Talk(b"", (Turn("user", "Hello"),), texts[0])) is None]
    served: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    chance.shuffle(alone)
    async with gateway("loose", batcher) as here:
        for number, last in enumerate(alone[:pairs]):
            first, other, another = chance.sample([texts for texts in several if texts is not last], 3)
            base = _case(first[0], "As it is.", last[0])
            changes = {
                "the same, after another answer": _case(first[0], "It is as it is.", last[0]),
                "the first in other words": _case(first[1], "As it is.", last[0]),
                "the last in other words": _case(first[0], "It is as it is.", last[1]),
                "after another question": _case(other[0], "As it is.", last[0]),
                "another last one (wrong)": _case(first[0], "It is as it is.", another[0]),
                "the nearest other one (wrong)": _case(first[0], "It is as it is.", _nearest(last, alone)),
            }
            for what, case in changes.items():
                tenant = f"{number} {what}"
                await here.ask(base, tenant)
                outcome, _ = await here.ask(case, tenant)
                asked[what] += 1
                served[what] += outcome.reason == "other_history"
    print(f"\n== {name}: {len(alone)} of {len(several)} questions stand alone")
    rows = [Row("conversations", f"{name}: questions that stand alone", 100 * len(alone) / max(1, len(several)), "%")]
    for what, count in asked.items():
        print(f"  {what}: {served[what]} of {count} served")
        rows.append(Row("conversations", f"{name}: {what}", 100 * served[what] / count, "% served", note=f"of {count}"))
    return rows


def _nearest(texts: list[str], among: Sequence[list[str]]) -> str:
    """The question of another class that has the most words in common with the first of these."""
    mine = set(words(texts[0]))
    others = [one[0] for one in among if one is not texts]
    return max(others, key=lambda text: len(mine & set(words(text))) / len(mine | set(words(text))))


def _case(first: str, said: str, last: str) -> Case:
    turns = (("user", first), ("assistant", said), ("user", last))
    return Case(tuple({"role": role, "content": text} for role, text in turns), "It depends.")
