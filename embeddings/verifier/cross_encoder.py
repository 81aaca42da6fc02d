"""A second look by a cross-encoder: both texts in one forward, for the few candidates a verifier is unsure about.

Any sequence classifier that sentence-transformers' CrossEncoder loads, by name or directory, with one output (a sigmoid
score of "the same question", as cross-encoder/quora-distilroberta-base) or two (0 different, 1 the same). It costs as
much as embedding both texts at once for every candidate, twice for symmetry, so it is for a grey band, on request.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np

from embeddings.base import DoesNotFit, EmbedderError
from embeddings.verifier.logistic import Numbers
from embeddings.wording import settled


class SecondLook:
    """Loads with `load`, which takes seconds; then judges pairs. Synchronous: whoever calls owns the thread."""

    def __init__(self, name_or_path: str, *, device: str = "cpu") -> None:
        self.name = name_or_path
        self.max_tokens = 0
        self._device = device
        self._model: Any = None

    def load(self) -> Self:
        """Read the weights and judge a known pair. Raises `EmbedderError`."""
        try:
            torch, library = import_module("torch"), import_module("sentence_transformers")
            is_here = Path(self.name).is_dir()
            name, _, revision = (self.name, "", "") if is_here else self.name.partition("@")
            model = library.CrossEncoder(
                name,
                device=self._device,
                revision=revision or None,
                local_files_only=is_here,
                trust_remote_code=False,
                model_kwargs={"dtype": torch.float32, "use_safetensors": True},
            )
        except ImportError as exc:
            raise EmbedderError(f"the semantic extra is not installed: {exc}") from exc
        except (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError) as exc:
            raise EmbedderError(f"cannot load the cross-encoder {self.name!r}: {exc}") from exc
        if model.num_labels not in (1, 2):
            raise EmbedderError(f"the cross-encoder {self.name!r} has {model.num_labels} outputs, not one or two")
        self._model = model.eval()
        self.max_tokens = int(model.max_seq_length or 512)
        self.probabilities([("What is the capital of France?", "Which city is the capital of France?")])
        return self

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> Numbers:
        """How likely it is that the texts of each pair ask the same: the mean of both orders. Raises `DoesNotFit`
        where the model would not see both texts whole."""
        if self._model is None:
            raise EmbedderError("the cross-encoder is not loaded")
        if not pairs:
            return np.empty(0)
        said = [(settled(a), settled(b)) for a, b in pairs]
        both = [*said, *((b, a) for a, b in said)]
        self._check_lengths(said)
        softmax = self._model.num_labels == 2
        sigmoid = None if softmax else import_module("torch").nn.Sigmoid()
        try:
            found = self._model.predict(both, apply_softmax=softmax, activation_fn=sigmoid, show_progress_bar=False)
        except (RuntimeError, ValueError, TypeError) as exc:
            raise EmbedderError(f"{self.name} failed on {len(pairs)} pairs: {exc}") from exc
        scores = np.asarray(found, np.float64).reshape(len(both), -1)[:, -1]
        if not np.isfinite(scores).all():
            raise EmbedderError(f"{self.name} gave scores that are not numbers")
        return np.asarray((scores[: len(pairs)] + scores[len(pairs) :]) / 2)

    def _check_lengths(self, pairs: Sequence[tuple[str, str]]) -> None:
        for a, b in pairs:
            if (
                len(a) + len(b) > 32 * self.max_tokens
                or len(self._model.tokenizer(a, b)["input_ids"]) > self.max_tokens
            ):
                raise DoesNotFit(f"texts of {len(a)} and {len(b)} characters are more than {self.name} can see")
