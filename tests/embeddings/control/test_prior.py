"""What lanes begin from."""

from pathlib import Path

import pytest

import embeddings.verifier
from embeddings.control.prior import PRIORS, Prior, prior_of
from embeddings.control.support import FEATURES
from embeddings.verifier import parse


def test_every_family_with_a_shipped_verifier_has_a_fitted_belief() -> None:
    shipped = sorted(Path(embeddings.verifier.__file__).parent.glob("*.safetensors"))
    families = {parse(path.read_bytes()).family for path in shipped}

    assert families
    assert families == set(PRIORS)


def test_a_belief_has_a_weight_for_every_number() -> None:
    for prior in (prior_of(""), *PRIORS.values()):
        assert len(prior.mean) == len(prior.deviation) == len(FEATURES)
    with pytest.raises(ValueError, match="weights"):
        Prior((1.0,), (1.0,), 0.5)
