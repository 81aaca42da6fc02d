"""The verifiers that come with the program: one file per family of embedders."""

import logging
from importlib.resources import files
from importlib.resources.abc import Traversable

from embeddings.base import EmbedderError
from embeddings.verifier.files import parse
from embeddings.verifier.model import Verifier, conservative

log = logging.getLogger(__name__)


def family_of(fingerprint: str) -> str:
    """What embedders of like states share: the digest of weights and vocabulary, and the pooling. Their name, the
    precision of their arithmetic and the wording of what they are given may differ. Empty for a foreign form."""
    parts = fingerprint.split(":")
    return f"{parts[-6]}:{parts[-3]}" if len(parts) >= 7 else ""


def file_of(family: str) -> str:
    """The name of its file."""
    return f"{family.replace(':', '-')}.safetensors"


def load_verifier(embedder_fingerprint: str, folder: Traversable | None = None) -> Verifier:
    """The shipped verifier for this embedder; the conservative one when there is none, or it is damaged."""
    family = family_of(embedder_fingerprint)
    path = (folder or files("embeddings.verifier")) / file_of(family)
    if not family or not path.is_file():
        return conservative()
    try:
        verifier = parse(path.read_bytes())
        if verifier.family != family:
            raise EmbedderError(f"the verifier's family is {verifier.family!r}, not {family!r}")
        return verifier
    except (EmbedderError, OSError) as exc:
        log.error("the shipped verifier is not used, cosine alone decides: %s", exc)
        return conservative()
