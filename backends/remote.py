"""The one place where a server somewhere else becomes a backend.

    backend = remote(RemoteSpec("gpu-1", "http://10.0.0.7:8000", "vllm", models=("qwen3-8b",)))

What a kind of server wants to be told, and where it says what it had cached, is its flavour.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends import flavours
from backends.base import AnyModelBackend
from backends.flavours.base import Wishes
from backends.http import Timeouts
from backends.upstream import UpstreamBackend

FLAVOURS: tuple[str, ...] = tuple(flavours.FLAVOURS)


@dataclass(frozen=True, slots=True)
class RemoteSpec:
    """A server and what is known of it. Replicas of a model differ in `name` and `url` alone."""

    name: str
    url: str
    flavour: str = "openai"
    api_key: str = field(default="", repr=False)
    models: tuple[str, ...] = ()  # what it serves; empty to ask it
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeouts: Timeouts = field(default_factory=Timeouts)
    predicts: bool = False  # send near answers as OpenAI's prediction, where the flavour takes one
    max_tokens: int = 0  # for a caller who names none, where an API wants a limit; 0: the flavour's own
    # With the model's name, what answers are kept under: change it when the weights change. None: the URL.
    revision: str | None = ""


def remote(spec: RemoteSpec) -> AnyModelBackend:
    """The backend of a server. Raises ValueError for a URL that is not one, or a flavour that is not known."""
    flavour = flavours.FLAVOURS.get(spec.flavour)
    if flavour is None:
        raise ValueError(f"{spec.name}: no flavour {spec.flavour!r}; there are {', '.join(FLAVOURS)}")
    return UpstreamBackend(
        spec.name,
        spec.url,
        api_key=spec.api_key or None,
        timeouts=spec.timeouts,
        model_names=spec.models,
        headers=spec.headers,
        wishes=Wishes(spec.predicts, spec.max_tokens),
        revision=spec.revision,
        flavour=flavour,
    )
