"""What a gateway does while its embedder loads, and how that stands in the others' way."""

import asyncio
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from embeddings.base import Embedder, Vectors
from embeddings.hashing import HashingEmbedder
from gateway.services import build
from gateway.services.semantic import NICENESS, semantic_tier
from gateway.settings import load_settings
from tests.gateway.express.serving import asking, request_of, town
from tests.upstream import running_upstream

READY = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def test_a_hit_is_served_from_the_store_while_the_embedder_still_loads(tmp_path: Path) -> None:
    request = request_of(asking("Who is first?"))
    may_load = threading.Event()

    def load() -> Embedder:
        may_load.wait()
        return HashingEmbedder(64)

    with running_upstream() as upstream:
        async with town(tmp_path, upstream) as place:
            made = await (await place.connect()).ask(request)
        try:
            async with asyncio.timeout(20), town(tmp_path, upstream, cache={"semantic": True}, load=load) as place:
                caller = await place.connect()
                hit, ready = await caller.ask(request), await caller.ask(READY)
                may_load.set()
        finally:
            may_load.set()

    assert (made.tier, hit.tier, ready.status) == ("full", "exact", 200)
    assert b'"semantic":"loading' in ready.body


@pytest.mark.skipif(sys.platform != "linux", reason="counts niceness by thread on Linux alone")
async def test_the_embedder_stands_back_beside_a_local_engine_too(tmp_path: Path) -> None:
    seen: list[int] = []

    class Watched(HashingEmbedder):
        def embed(self, texts: Sequence[str]) -> Vectors:
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return super().embed(texts)

    settings = load_settings({"upstream": "http://127.0.0.1:1/v1", "data_dir": tmp_path}, environ={})
    there = build(settings, Watched)
    others = there.answers, there.router, there.engines
    beside = semantic_tier(replace(settings, model="demo"), there.secret, *others, load=Watched)
    for semantic in (there.semantic, beside):
        assert semantic is not None
        await semantic.batcher.embed("a text")
        await semantic.batcher.close()

    assert seen == [NICENESS, NICENESS]
