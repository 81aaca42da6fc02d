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
    asked = {name: load_asked(name) for name in names}
    readings = readings_of([one.text for prompts in asked.values() for one in prompts], embedder)
    sources, shipped = load_sources(embedder), load_verifier(embedder.fingerprint)
    streams = [Stream(name, prompts, readings, embedder.fingerprint, embedder.fits) for name, prompts in asked.items()]
    for stream in streams:
        assert stream.gates is not None  # the embedder is asked here, and not by every process
    verifiers = {stream.name: left_out(stream.name, sources, shipped) for stream in streams}
    seen = rows_of([(stream, verifiers[stream.name]) for stream in streams if stream.name in FITTED_ON], shipped.name)
    return {
        stream.name: Runner(stream, verifiers[stream.name], shipped, without(own(stream.name), seen))
        for stream in streams
    }


def left_out(name: str, sources: Sequence[Source], shipped: Verifier) -> Verifier:
    """The shipped kind of verifier, fitted without the source of this stream."""
    return fit_prior([source for source in sources if source.origin not in own(name)], shipped.family)


def own(name: str) -> tuple[str, ...]:
    """The sources that a stream is made of."""
    return MIXED if name == "mixed_zipf" else (origin(name),)
