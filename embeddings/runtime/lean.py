"""An embedder without torch: the checkpoint read from its folder, computed by onnxruntime.

It is used where it gives the numbers of sentence-transformers on a few texts. What that said is kept, so neither the
library nor torch is loaded in this process: with the program for the model that comes by pip, in `records` for others.
"""

from pathlib import Path

from embeddings.runtime.agreement import TOLERANCES, disagreement
from embeddings.runtime.checkpoint import read_checkpoint
from embeddings.runtime.fast import VERSION, FastEmbedder, fingerprint_of
from embeddings.runtime.forward import Unsuited
from embeddings.runtime.onnx import OnnxForward
from embeddings.runtime.records import known_readings
from embeddings.runtime.witness import witnessed
from embeddings.selftest import self_test


def lean_embedder(folder: Path, name: str, threads: int | None, records: Path | None) -> FastEmbedder:
    """The model in `folder`. Raises `Unsuited` or `EmbedderError`. Without `records` nobody is asked about a model
    whose numbers are not known."""
    checkpoint = read_checkpoint(folder)
    digest = checkpoint.digest()
    known = known_readings(digest, None) if records is None else witnessed(folder, digest, records)
    if known is None:
        raise Unsuited("nobody has said which numbers it gives")
    embedder = FastEmbedder(
        OnnxForward(checkpoint, threads),
        checkpoint.tokens,
        name=name,
        dim=checkpoint.width,
        fingerprint=fingerprint_of(
            name, digest, f"float32+{VERSION}", checkpoint.width, checkpoint.pooling, checkpoint.tokens.max_tokens
        ),
    )
    if why := disagreement(embedder, known, TOLERANCES["float32"]):
        raise Unsuited(f"onnxruntime computes something else: {why}")
    self_test(embedder)
    return embedder
