"""Whether one answer serves two texts: a calibrated probability from what the embedder made of both."""

from embeddings.verifier.files import dump, parse
from embeddings.verifier.fitting import fit
from embeddings.verifier.model import Comparison, Verifier, conservative
from embeddings.verifier.shipped import load_verifier

__all__ = ["Comparison", "Verifier", "conservative", "dump", "fit", "load_verifier", "parse"]
