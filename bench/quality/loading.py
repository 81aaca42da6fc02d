"""Streams, and verifiers that have not seen them."""

from collections.abc import Sequence

from bench.quality.belief import FITTED_ON, origin, rows_of, without
from bench.quality.fit import fit_prior
from bench.quality.readings import readings_of
from bench.quality.risk import Runner
from bench.quality.sources import Source, load_sources
from bench.quality.streams import STREAMS, Stream, load_asked
from embeddings.local import SentenceTransformerEmbedder
from embeddings.verifier import Verifier, load_verifier

# what mixed_zipf is made of
MIXED = (
    "clinc150",
    "disfl_qa",
    "spider",
    "gsm_plus",
    "arena_hard_distinct",
    "xquad_en_zh",
)


def load(names: Sequence[str] = STREAMS) -> dict[str, Runner]:
    """Each stream with the verifier that has not seen it, and the shipped one. Raises `DataError` without data."""
    embedder = SentenceTransformerEmbedder().load()
    asked = {name: load_asked(name) for name in dict.fromkeys([*names, *FITTED_ON])}
    readings = readings_of([one.text for prompts in asked.values() for one in prompts], embedder)
    sources, shipped = load_sources(embedder), load_verifier(embedder.fingerprint)
    streams = {
        name: Stream(name, all_of, readings, embedder.fingerprint, embedder.fits) for name, all_of in asked.items()
    }
    verifiers = {name: left_out(name, sources, shipped) for name in streams}
    seen = rows_of([(streams[name], verifiers[name]) for name in FITTED_ON])  # whatever is asked for
    for name in names:
        assert streams[name].gates is not None  # the embedder is asked here, and not by every process
    return {name: Runner(streams[name], verifiers[name], shipped, without(own(name), seen)) for name in names}


def left_out(name: str, sources: Sequence[Source], shipped: Verifier) -> Verifier:
    """The shipped kind of verifier, fitted without the source of this stream."""
    return fit_prior([source for source in sources if source.origin not in own(name)], shipped.family)


def own(name: str) -> tuple[str, ...]:
    """The sources that a stream is made of."""
    return MIXED if name == "mixed_zipf" else (origin(name),)
