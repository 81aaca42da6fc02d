"""When may an answer be read, and when may it be kept? Pure: values in, a decision with a reason out.

The reasons are shown to callers (`x-twicetold-reason`), counted in metrics, and explained in the dashboard.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from backends.chat import ChatRequest, Choice, Completion, Fields
from gateway.controls import Controls
from gateway.identity.questions import is_deictic, is_volatile

Mode = Literal["off", "shadow", "on"]  # of the semantic tier; shadow: decide and measure, never serve
History = Literal["strict", "loose"]  # loose: a last turn that stands alone may be answered for another history
MODES: tuple[Mode, ...] = ("off", "shadow", "on")  # each allows what the one before does, and more
ENDS = frozenset({"stop", "tool_calls", "function_call"})  # how an answer ends by itself
_SHOWN = frozenset({"image_url", "input_audio", "file", "image", "document", "video_url", "audio_url"})
LOOSE = ",history=loose"  # names the lane of such hits: what is learned of them is used for nothing else


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator allows. Similarities are cosines; times are seconds."""

    exact: bool = True
    semantic: bool = True
    kv: bool = True
    mode: Mode = "on"
    history: History = "strict"
    max_wrong_hit_rate: float = 0.01  # wrong semantic hits, of all semantic hits
    shadow_rate: float = 0.05  # of the would-be hits, answered anew all the same
    min_similarity: float = 0.0  # under whatever else is asked of a semantic hit
    max_temperature: float = 1.0  # semantic hits only; the same request may always be answered the same
    max_question_chars: int = 2000
    default_ttl_s: float | None = None  # None: until evicted
    max_ttl_s: float | None = None
    keeps_s: float | None = None  # nothing older is served, whatever its ttl was; of all routes alike
    sliding_ttl: bool = False  # every use of an answer prolongs its life, up to max_ttl_s
    replay_tokens_per_s: float = 0.0  # a stored answer is streamed as fast as if it were typed; 0: at once
    hit_details: bool = True  # callers are told which entry answers, and how alike the questions are
    share_tenants: int = 0  # so many have to ask the same before its answer is shared; 0: nothing is
    pads_shared_hits: bool = False  # a shared hit takes as long as its generation, and looks like one
    route: str = "default"  # what is learned from traffic is learned by tenant and route
    routes: tuple["RouteRules", ...] = ()

    def of(self, tenant: str, model: str, namespace: str) -> "Rules":
        """The rules of the first route that matches; these where none does."""
        return next((route.rules for route in self.routes if route.matches(tenant, model, namespace)), self)

    def loosely(self) -> "Rules":
        """The same for hits of other histories."""
        return replace(self, route=self.route + LOOSE)


@dataclass(frozen=True, slots=True)
class RouteRules:
    """Rules for some of the traffic. `model` and `namespace` are patterns; an empty tenant is everybody."""

    model: str
    namespace: str
    tenant: str
    rules: Rules

    def matches(self, tenant: str, model: str, namespace: str) -> bool:
        """Whether a request is of this route."""
        if self.tenant not in ("", tenant):
            return False
        return fnmatchcase(model, self.model) and fnmatchcase(namespace, self.namespace)


@dataclass(frozen=True, slots=True)
class Plan:
    """What this request may use, decided before anything is looked up."""

    read_exact: bool
    read_semantic: bool  # unless `semantic_refusal` has a reason: asked only when there is no exact answer
    remember_question: bool  # likewise
    write: bool
    share_flight: bool  # join, or be joined by, an identical request being answered right now
    use_kv: bool
    publish_kv: bool
    bypass: str | None  # why no stored answer is looked for; None when one is
    ttl_s: float | None
    min_similarity: float


def narrower_mode(one: Mode, other: Mode) -> Mode:
    """Of two modes of the semantic tier, the one that allows less."""
    return min(one, other, key=MODES.index)


def plan(controls: Controls, rules: Rules, *, has_deadline: bool = False) -> Plan:
    """Decide which tiers a request may read and whether its answer may be kept.

    One with a deadline of its own shares no generation: when its time is over, that of its riders is not.
    """
    exact = rules.exact and "exact" in controls.tiers
    semantic = rules.semantic and rules.mode != "off" and "semantic" in controls.tiers
    read = not controls.no_cache
    write = (exact or semantic) and not controls.no_store and controls.ttl_s != 0
    may_use_kv = rules.kv and "kv" in controls.tiers
    return Plan(
        read_exact=exact and read,
        read_semantic=semantic and read,
        remember_question=semantic and write,
        write=write,
        share_flight=exact and read and write and not has_deadline,
        use_kv=may_use_kv,
        publish_kv=may_use_kv and not controls.no_store,
        bypass=_bypass(controls, exact or semantic),
        ttl_s=_ttl(controls, rules),
        min_similarity=max(rules.min_similarity, controls.min_similarity or 0.0),
    )


def refuse_to_keep(completion: Completion, *, may_be_cut: bool = False) -> str | None:
    """The write gate: why this answer must not be stored; None when it may.

    `may_be_cut`: it goes on from a raw prompt, which has no end of its own but the number of tokens that was asked for.
    """
    if not completion.choices:
        return "no_choices"
    ends = ENDS | {"length"} if may_be_cut else ENDS
    return next((reason for choice in completion.choices if (reason := _choice_refusal(choice, ends))), None)


def _choice_refusal(choice: Choice, ends: frozenset[str]) -> str | None:
    if choice.finish_reason not in ends:
        return f"finish_{choice.finish_reason or 'missing'}"
    message = choice.message
    if message.get("refusal"):
        return "refused"
    has_text = isinstance(message.get("content"), str) and message["content"].strip() != ""
    has_other = message.get("tool_calls") or message.get("function_call") or message.get("audio")
    return None if has_text or has_other else "empty"


def _bypass(controls: Controls, may_use_answers: bool) -> str | None:
    if not may_use_answers:
        return "tiers_off"
    if controls.no_cache:
        return "no_cache"
    return None


def semantic_refusal(
    request: ChatRequest, question: str | None, rules: Rules, default_temperature: float
) -> str | None:
    """Why this request may neither be answered by, nor answer, other words. In the order of cheapness."""
    params = request.params
    if request.native is not None:
        return "only_exact"
    if question is None:
        return "last_not_user_text"
    if len(question) > rules.max_question_chars:
        return "question_too_long"
    if (params.get("n") or 1) > 1:
        return "several_choices"
    if params.get("logprobs"):
        return "logprobs"
    temperature = params.get("temperature")
    if (default_temperature if temperature is None else temperature) > rules.max_temperature:
        return "temperature"
    if any(map(_has_to_do_with_tools, request.messages)):
        return "tools_called"
    if any(map(_shows_something, request.messages)):
        return "not_only_text"  # what is seen in a picture is told apart by no word
    if is_volatile(question):
        return "volatile"
    has_history = any(message.get("role") == "assistant" for message in request.messages)
    return "deictic" if has_history and is_deictic(question) else None


def _has_to_do_with_tools(message: Fields) -> bool:
    """Whether a message calls a tool, or says what one came to; in OpenAI's old spelling, too."""
    return bool(
        message.get("role") in ("tool", "function") or message.get("tool_calls") or message.get("function_call")
    )


def _shows_something(message: Fields) -> bool:
    """Whether a message holds a picture, a sound or a file beside its text."""
    content = message.get("content")
    parts = content if isinstance(content, list | tuple) else ()
    return any(isinstance(part, Mapping) and part.get("type") in _SHOWN for part in parts)


def _ttl(controls: Controls, rules: Rules) -> float | None:
    """The caller's wish or the default, under the operator's cap."""
    wanted = controls.ttl_s if controls.ttl_s is not None else rules.default_ttl_s
    limits = [ttl for ttl in (wanted, rules.max_ttl_s) if ttl is not None]
    return min(limits, default=None)
