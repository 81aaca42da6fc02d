"""A raw prompt, which no chat template has rendered: what the engine cannot do with one is refused by name."""

from backends.chat import Fields
from backends.errors import RequestRejected
from backends.local.params import Generation


def refuse_what_it_cannot(params: Fields, wanted: Generation) -> None:
    """Raises `RequestRejected`."""
    if params.get("suffix"):
        raise RequestRejected("suffix is not supported: this model writes on, it does not fill in", param="suffix")
    if params.get("best_of") not in (None, wanted.n):
        raise RequestRejected("best_of is not supported unless it equals n", param="best_of")
    if params.get("echo"):
        raise RequestRejected("echo is not supported: the prompt is not told again", param="echo")
    if wanted.tools:
        raise RequestRejected("tools are for chats", param="tools")
