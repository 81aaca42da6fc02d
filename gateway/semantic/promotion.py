"""Promotion: a question that a judge found answered becomes another name of the stored answer: an exact hit.

The answer that was made meanwhile gives way: two wordings of one question then say the same, and neighbours that share
an answer speak for each other. What users say of such a hit is said of the pair: it teaches the lane as that of a hit
by meaning does, one bad word ends the alias, and the pair is promoted no more.
"""

from dataclasses import replace

from embeddings.base import EmbedderError
from embeddings.batcher import EmbeddingBatcher
from embeddings.control import Looked, Neighbour
from gateway.answers.base import PROMOTION, Answers, CacheError, Entry, unembedded_of
from gateway.semantic.found import Judged, digest_of
from gateway.semantic.lanes import Lanes
from gateway.semantic.rule import LaneRule
from gateway.semantic.vectors import Vectors
from gateway.served import Served

SERVED = 1.0  # the probability of what the judge approved: it is a hit whatever the lane thinks of it


async def adopt(answers: Answers, vectors: Vectors, fresh: Entry, stored: Entry) -> bool:
    """Keep `stored`'s answer under `fresh`'s question; False when either is gone or was replaced meanwhile. Raises
    `CacheError`."""
    now_fresh = await answers.get(fresh.scope, fresh.exact)
    now_stored = await answers.by_id(stored.scope, stored.id)
    if now_fresh is None or now_fresh.created_s != fresh.created_s:
        return False
    if now_stored is None or now_stored.created_s != stored.created_s or now_stored.scope != fresh.scope:
        return False
    if now_stored.completion.calls_tools:
        return False
    named = replace(
        now_fresh,
        completion=stored.completion,
        elapsed_s=stored.elapsed_s,
        created_s=stored.created_s,
        expires_s=earlier(now_fresh.expires_s, stored.expires_s),
        alias_of=stored.alias_of or stored.id,
        origin=PROMOTION,
        embedder=None,
        vector=None,
    )
    await answers.put(named)
    if (row := unembedded_of(named)) is not None:
        await vectors.remember(row)
    return True


async def judged_of_alias(served: Served, answers: Answers, batcher: EmbeddingBatcher, lanes: Lanes) -> Judged | None:
    """What a label of a hit on an alias needs; None when it was none, or what it names is gone. Raises `CacheError`."""
    question = served.stored_question
    if served.alias_of is None or question is None:
        return None
    original = await answers.by_id(served.scope, served.alias_of)
    if original is None or original.question is None:
        return None
    rule = LaneRule.of(served.tenant, served.rules)
    looked = await _looked(rule, question, original, batcher, lanes)
    # what a guard refuses has no features, and with none it would be taken for a hit by bare form
    features = looked.features if looked is not None else ()
    return Judged(
        rule, served.scope, question, original.question, original.id, SERVED, features, bool(features),
        original.expires_s, was_hit=True,
    )  # fmt: skip


async def _looked(
    rule: LaneRule, question: str, original: Entry, batcher: EmbeddingBatcher, lanes: Lanes
) -> Looked | None:
    """What the lane makes of the pair now."""
    try:
        asked, stored = await batcher.read([question, original.question or ""])
    except EmbedderError as error:
        raise CacheError(str(error)) from error
    near = Neighbour(original.id, stored, float(asked.vector @ stored.vector), digest_of(original))
    verdict = await lanes.decide(rule, asked, [near], 0.0, is_dry=True)
    return next(iter(verdict.looked), None)


def earlier(a: float | None, b: float | None) -> float | None:
    """The earlier of two ends; None is never."""
    return min((end for end in (a, b) if end is not None), default=None)
