"""Promotion: a question that a judge found answered becomes another name of the stored answer: an exact hit.

The answer that was made meanwhile gives way: two wordings of one question then say the same, and neighbours that share
an answer speak for each other.
"""

from dataclasses import replace

from gateway.answers.base import Answers, Entry, unembedded_of
from gateway.semantic.vectors import Vectors


async def adopt(answers: Answers, vectors: Vectors, fresh: Entry, stored: Entry) -> bool:
    """Keep `stored`'s answer under `fresh`'s question; False when either is gone or was replaced meanwhile. Raises
    `CacheError`."""
    now_fresh = await answers.get(fresh.scope, fresh.exact)
    now_stored = await answers.by_id(stored.scope, stored.id)
    if now_fresh is None or now_fresh.created_s != fresh.created_s:
        return False
    if now_stored is None or now_stored.created_s != stored.created_s or now_stored.scope != fresh.scope:
        return False
    named = replace(
        now_fresh,
        completion=stored.completion,
        elapsed_s=stored.elapsed_s,
        created_s=stored.created_s,
        expires_s=earlier(now_fresh.expires_s, stored.expires_s),
        alias_of=stored.alias_of or stored.id,
        embedder=None,
        vector=None,
    )
    await answers.put(named)
    if (row := unembedded_of(named)) is not None:
        await vectors.remember(row)
    return True


def earlier(a: float | None, b: float | None) -> float | None:
    """The earlier of two ends; None is never."""
    return min((end for end in (a, b) if end is not None), default=None)
