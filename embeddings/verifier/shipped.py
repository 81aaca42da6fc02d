"""The verifiers that come with the program: one file per family of embedders."""

import logging
from importlib.resources import files

from embeddings.base import EmbedderError
from embeddings.verifier.files import parse
from embeddings.verifier.model import Verifier, conservative

log = logging.getLogger(__name__)


def family_of(fingerprint: str) -> str:
    """What embedders of equal states share: the digest of weights and vocabulary, the pooling, the wording. Its name
    and the precision of its arithmetic may differ. Empty when the fingerprint is not of that form."""
    parts = fingerprint.split(":")
    return ":".join((parts[-6], parts[-3], parts[-1])) if len(parts) >= 7 else ""


def load_verifier(embedder_fingerprint: str) -> Verifier:
    """The shipped verifier for this embedder; the conservative one when there is none, or it is damaged."""
    family = family_of(embedder_fingerprint)
    path = files("embeddings.verifier") / f"{family.replace(':', '-')}.safetensors"
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
