"""Fit the verifier that is shipped: `python -m bench.quality.fit` writes embeddings/verifier/<family>.safetensors.

It must be safe on questions nobody has seen, so it is small and held by the hand: a logistic regression in which cosine
keeps at least the weight that the best other clue could have, and every other clue may only speak against a hit (a
number without a partner, a negation, words that find no partner in the other text). Every source has an intercept of
its own while the weights are fitted, so how many pairs of a file happen to be right teaches nothing. Slope and
intercept are then set on what a cache judges in earnest: near predecessors in streams that no guard refuses.
What else was tried, and what it cost on sources left out, is in docs/decisions.md.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import embeddings.verifier
from bench.quality.sources import Source, load_sources
from embeddings.local import SentenceTransformerEmbedder
from embeddings.verifier import Verifier, dump
from embeddings.verifier.features import FEATURES
from embeddings.verifier.logistic import Numbers, chances, regress
from embeddings.verifier.model import prior_logits, prior_rows
from embeddings.verifier.shipped import family_of, file_of

COSINE_AT_LEAST = 1.0  # per unit of spread
AGAINST = ("numbers_unpaired", "denial", "opposites", "form", "order", "lonely_less", "lonely_more")
NOT_FITTED_ON = (
    "gptcache_mock",
    "crosswoz_zh",
    "paws_x_zh",
    "xquad_en_zh",
)  # one label only; not the embedder's tongue
_PULL = 2.0
_WEIGHT_OF_STREAM = 1000.0  # in labels; a file weighs the same however long it is
_WEIGHT_OF_PAIRS = 300.0


def main() -> None:
    embedder = SentenceTransformerEmbedder().load()
    family = family_of(embedder.fingerprint)
    verifier = fit_prior(load_sources(embedder), family)
    path = Path(embeddings.verifier.__file__).parent / file_of(family)
    path.write_bytes(dump(verifier))
    print(f"{path.name}: {verifier.name}, {path.stat().st_size} bytes")
    weights = zip(FEATURES, verifier.arrays["weights"], verifier.arrays["scale"], strict=True)
    for name, weight, scale in weights:
        if weight:
            print(f"  {name:20s} {weight:+.3f} per {scale:.3f}")


def fit_prior(sources: Sequence[Source], family: str) -> Verifier:
    """The verifier that all of `sources` agree on. Deterministic."""
    used = [source for source in sources if source.origin not in NOT_FITTED_ON]
    rows = np.concatenate([source.pairs.features for source in used]).astype(np.float64)
    ones = np.ones(1, np.float32)
    arrays = {
        "mean": rows.mean(axis=0).astype(np.float32),
        "scale": np.maximum(rows.std(axis=0), 1e-3).astype(np.float32),
        "weights": np.zeros(len(FEATURES), np.float32),
        "bias": 0 * ones,
    }
    arrays["weights"] = _weights(used, arrays).astype(np.float32)
    slope, bias = _calibration([source for source in used if source.is_stream], arrays)
    return Verifier(
        family, {**arrays, "weights": arrays["weights"] * np.float32(slope), "bias": np.float32(bias) * ones}
    )


def _weights(sources: Sequence[Source], arrays: dict[str, NDArray[np.float32]]) -> Numbers:
    """Of every feature; the logistic loss over all sources, each with an intercept of its own."""
    minimize = import_module("scipy.optimize").minimize
    clues = [FEATURES.index(name) for name in ("cosine", *AGAINST)]
    groups = np.repeat(np.arange(len(sources)), [len(source.labels) for source in sources])
    seen = np.concatenate([prior_rows(arrays, source.pairs)[:, clues] for source in sources])
    rows = np.column_stack([seen, np.eye(len(sources))[groups]])
    labels = np.concatenate([source.labels for source in sources])
    weights = np.concatenate([_balance(source) for source in sources])
    pull = np.where(np.arange(rows.shape[1]) < len(clues), _PULL, 0.0)

    def loss(now: Numbers) -> tuple[float, Numbers]:
        said = rows @ now
        wrong = weights * (chances(said) - labels)
        value = weights @ (np.logaddexp(0.0, said) - labels * said) + 0.5 * float(pull @ now**2)
        return float(value), rows.T @ wrong + pull * now

    bounds = [(COSINE_AT_LEAST, None), *[(None, 0.0)] * len(AGAINST), *[(None, None)] * len(sources)]
    first = np.zeros(rows.shape[1])
    first[0] = COSINE_AT_LEAST
    found = minimize(loss, first, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 300})
    every = np.zeros(len(FEATURES))
    every[clues] = found.x[: len(clues)]
    return every


def _balance(source: Source) -> Numbers:
    """Weights of a source's pairs: the right and the wrong ones weigh the same together."""
    share = np.clip(source.labels.mean(), 0.02, 0.98)
    each = np.where(source.labels > 0, 0.5 / share, 0.5 / (1.0 - share))
    balanced: Numbers = each * (_WEIGHT_OF_STREAM if source.is_stream else _WEIGHT_OF_PAIRS) / len(each)
    return balanced


def _calibration(streams: Sequence[Source], arrays: dict[str, NDArray[np.float32]]) -> tuple[float, float]:
    """Slope and intercept that make the logits honest where nothing is refused, each stream counted alike."""
    rows, labels = [], []
    for stream in streams:
        some = np.flatnonzero(~stream.is_refused)
        some = some[np.linspace(0, len(some) - 1, min(len(some), 500)).astype(np.int64)]
        said = prior_logits(arrays, stream.pairs.take(some))
        rows.append(np.column_stack([said, np.ones(len(said))]))
        labels.append(stream.labels[some])
    slope, bias = regress(np.concatenate(rows), np.concatenate(labels), np.array([1.0, 0.0]), np.full(2, 0.1))
    return float(slope), float(bias)


if __name__ == "__main__":
    main()
