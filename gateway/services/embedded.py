"""What answers /v1/embeddings: memory, a file, upstreams, and the embedder of the semantic tier."""

from collections.abc import Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING

from backends.routing.router import Router
from gateway.embedded.file import FileVectors
from gateway.embedded.memory import MemoryVectors
from gateway.embedded.service import Embeddings
from gateway.ledger import Ledger
from gateway.metrics import Sample
from gateway.policy import Rules
from gateway.redaction import KEEPS_ALL, Redactor
from gateway.seal import NO_SEAL, Seal
from gateway.settings import CacheSettings, Settings

if TYPE_CHECKING:
    from gateway.embedded.own import OwnEmbedder
    from gateway.semantic.tier import Semantic

MIB = 2**20
MEMORY_MB = 32  # at most, of what is kept in all
BUNDLED = "sentence-transformers/all-MiniLM-L6-v2"


def embeddings_of(
    settings: Settings,
    secret: bytes,
    router: Router,
    rules: Rules,
    ledger: Ledger,
    semantic: "Semantic | None",
    seal: Seal = NO_SEAL,
    redactor: Redactor = KEEPS_ALL,
) -> Embeddings:
    """Nothing is opened yet."""
    kept_mb = settings.cache.embeddings_mb if settings.cache.enabled else 0
    return Embeddings(
        secret=secret,
        router=router,
        rules=rules,
        ledger=ledger,
        memory=MemoryVectors(min(MEMORY_MB, kept_mb) * MIB),
        file=FileVectors(settings.data_dir / "embeddings.db", kept_mb * MIB, seal) if kept_mb else None,
        own=None if semantic is None else _own(semantic, settings.cache),
        redactor=redactor,
    )


def _own(semantic: "Semantic", cache: CacheSettings) -> "OwnEmbedder":
    from gateway.embedded.own import OwnEmbedder

    name = cache.embedder or BUNDLED
    short = PurePath(name).name
    return OwnEmbedder(semantic.batcher, [short] if PurePath(name).is_absolute() else [name, short])


def embedding_samples(embeddings: Embeddings) -> Iterable[Sample]:
    """What it counts."""
    tallies, file = embeddings.tallies, embeddings.file
    items = "Items of embeddings requests, by where their vectors came from"
    for source, count in (("stored", tallies.stored), ("asked", tallies.asked), ("shared", tallies.shared)):
        yield Sample("twicetold_embedding_items", items, count, (("source", source),), is_total=True)
    rows = {"memory": (len(embeddings.memory), embeddings.memory.size_bytes)}
    if file is not None:
        rows["file"] = (file.rows, file.size_bytes)
    for place, (count, size_bytes) in rows.items():
        yield Sample("twicetold_embedding_entries", "Vectors kept", count, (("place", place),))
        yield Sample("twicetold_embedding_bytes", "What they weigh", size_bytes, (("place", place),))
