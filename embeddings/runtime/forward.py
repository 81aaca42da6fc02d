"""What every forward is: ids of some texts in, their states and pooled vectors out; and which bodies ours know.

The body is that of BERT, RoBERTa and XLM-R, which differ in where positions begin; others (relative positions,
rotations) are left to sentence-transformers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from embeddings.base import Vectors

Pooling = Literal["mean", "cls"]

BODIES = ("bert", "roberta", "xlm-roberta")
GELUS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}  # as oneDNN, torch and ONNX name the two


class Unsuited(Exception):
    """Not a model this forward can compute; the message says why."""


@dataclass(frozen=True, slots=True)
class Computed:
    """What a forward gives for some texts, in their order."""

    pooled: Vectors  # [texts, width], each of length 1
    states: list[NDArray[np.float32]]  # [tokens, width] of each


class Forward(Protocol):
    """A body of known shape. Holds no state: any thread may call it."""

    def __call__(self, texts: Sequence[list[int]]) -> Computed:
        """Compute texts, given by their ids; each has one at least. Raises RuntimeError or IndexError."""


def check_config(config: Any) -> None:
    """Raise `Unsuited` unless ours know such a body."""
    kind, act = getattr(config, "model_type", "?"), getattr(config, "hidden_act", "?")
    if kind not in BODIES:
        raise Unsuited(f"its body is {kind}, not one of {', '.join(BODIES)}")
    if act not in GELUS:
        raise Unsuited(f"its activation is {act}")
    if getattr(config, "position_embedding_type", "absolute") != "absolute" or getattr(config, "is_decoder", False):
        raise Unsuited("its positions are relative, or it looks backward only")


def first_position(config: Any) -> int:
    """Where the positions of a text begin in the table of positions."""
    return 0 if config.model_type == "bert" else int(config.pad_token_id) + 1
