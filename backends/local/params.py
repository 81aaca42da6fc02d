"""From OpenAI's request fields to what the engine needs: checked, defaults filled in, unknown fields ignored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.chat import Fields
from backends.errors import RequestRejected
from backends.local.speech.grammar import Shape, asked_shape
from backends.local.speech.tools import Calls, read_calls

MAX_STOPS = 16
MAX_CHOICES = 16
MAX_TOP_LOGPROBS = 20
MAX_TIMEOUT_S = 86_400
MAX_SAID_CHARS = 80  # of a wrong value


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Temperature 0 takes the likeliest."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    min_p: float = 0.0  # of the likeliest token's probability
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    top_logprobs: int | None = None  # None: no log probabilities at all


@dataclass(frozen=True, slots=True)
class Generation:
    """What one request asks for."""

    sampling: Sampling
    n: int = 1
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False  # go on to the token limit, for benchmarks
    priority: int = 0  # lower goes first, as in vLLM
    timeout_s: float | None = None  # as LiteLLM's `timeout`
    tools: tuple[Fields, ...] = ()
    calls: Calls | None = None  # that the answer may, or has to be
    shape: Shape | None = None  # what it must look like otherwise


def read_params(params: Fields, defaults: Mapping[str, Any], vocab_size: int) -> Generation:
    """Read the body fields of a request. Raises `RequestRejected` naming the field that is wrong."""
    given = {**defaults, **{key: value for key, value in params.items() if value is not None}}
    if _integer(given, "min_tokens", 0, low=0):
        raise RequestRejected("min_tokens is not supported: an answer ends where the model ends it", param="min_tokens")
    tools, shape = _tools(given), asked_shape(given)
    parallel = _boolean(given, "parallel_tool_calls", default=True)
    calls = read_calls(tools, given.get("tool_choice", "auto"), parallel=parallel)
    ignore_eos = _boolean(given, "ignore_eos")
    if ignore_eos and (shape is not None or (calls is not None and calls.is_forced)):
        raise RequestRejected("an answer that must look like something ends when it does", param="ignore_eos")
    return Generation(
        sampling=Sampling(
            temperature=_number(given, "temperature", 1.0, low=0, high=2),
            top_p=_number(given, "top_p", 1.0, low=0, high=1, above_low=True),
            top_k=max(0, _integer(given, "top_k", 0, low=-1)),  # -1 is another way to say all
            min_p=_number(given, "min_p", 0.0, low=0, high=1),
            presence_penalty=_number(given, "presence_penalty", 0.0, low=-2, high=2),
            frequency_penalty=_number(given, "frequency_penalty", 0.0, low=-2, high=2),
            repetition_penalty=_number(given, "repetition_penalty", 1.0, low=0, high=10, above_low=True),
            logit_bias=_logit_bias(given, vocab_size),
            seed=_integer(given, "seed", 0, low=-(2**63), high=2**63 - 1) if "seed" in given else None,
            top_logprobs=_top_logprobs(given),
        ),
        n=_integer(given, "n", 1, low=1, high=MAX_CHOICES),
        max_tokens=_max_tokens(given),
        stop=_stop(given),
        ignore_eos=ignore_eos,
        priority=_integer(given, "priority", 0, low=-(2**31), high=2**31 - 1),
        timeout_s=_number(given, "timeout", 0, low=0, high=MAX_TIMEOUT_S, above_low=True)
        if "timeout" in given
        else None,
        tools=tools,
        calls=calls,
        shape=shape,
    )


def _number(given: Fields, name: str, default: float, *, low: float, high: float, above_low: bool = False) -> float:
    value = given.get(name, default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or (above_low and value == low):
        raise _wrong(name, value, f"a number in {'(' if above_low else '['}{low}, {high}]")
    return float(value)


def _integer(given: Fields, name: str, default: int, *, low: int, high: int | None = None) -> int:
    value = given.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        raise _wrong(name, value, f"an integer from {low}" + (f" to {high}" if high is not None else ""))
    return value


def _boolean(given: Fields, name: str, *, default: bool = False) -> bool:
    value = given.get(name, default)
    if not isinstance(value, bool):
        raise _wrong(name, value, "true or false")
    return value


def _max_tokens(given: Fields) -> int | None:
    name = "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"
    return _integer(given, name, 1, low=1) if name in given else None


def _top_logprobs(given: Fields) -> int | None:
    wanted = _integer(given, "top_logprobs", 0, low=0, high=MAX_TOP_LOGPROBS)
    if _boolean(given, "logprobs"):
        return wanted
    if wanted:
        raise RequestRejected("top_logprobs needs logprobs to be true", param="top_logprobs")
    return None


def _stop(given: Fields) -> tuple[str, ...]:
    value = given.get("stop", ())
    stops = (value,) if isinstance(value, str) else value
    if (
        not isinstance(stops, list | tuple)
        or len(stops) > MAX_STOPS
        or not all(s and isinstance(s, str) for s in stops)
    ):
        raise _wrong("stop", value, f"a string or up to {MAX_STOPS} strings, none empty")
    return tuple(stops)


def _logit_bias(given: Fields, vocab_size: int) -> tuple[tuple[int, float], ...]:
    value = given.get("logit_bias", {})
    if not isinstance(value, Mapping):
        raise _wrong("logit_bias", value, "an object of token ids and numbers")
    return tuple(
        (_token_id(key, vocab_size), _number({"logit_bias": bias}, "logit_bias", 0.0, low=-100, high=100))
        for key, bias in value.items()
    )


def _token_id(key: str, vocab_size: int) -> int:
    if not (key.isascii() and key.isdigit()) or int(key) >= vocab_size:
        raise _wrong("logit_bias", key, f"an object whose keys are token ids below {vocab_size}")
    return int(key)


def _tools(given: Fields) -> tuple[Fields, ...]:
    tools = given.get("tools", ())
    if not isinstance(tools, list | tuple) or not all(isinstance(tool, Mapping) for tool in tools):
        raise _wrong("tools", tools, "a list of objects")
    for place, tool in enumerate(tools):
        function = tool.get("function")
        if tool.get("type", "function") != "function":
            raise _wrong(f"tools[{place}].type", tool["type"], "function")
        if not isinstance(function, Mapping):
            raise _wrong(f"tools[{place}].function", function, "an object with a name")
        if not isinstance(name := function.get("name"), str) or not name:
            raise _wrong(f"tools[{place}].function.name", name, "a text that is not empty")
    return () if given.get("tool_choice") == "none" else tuple(tools)


def _wrong(name: str, value: object, wanted: str) -> RequestRejected:
    said = json.dumps(value, ensure_ascii=False, default=str)  # as the caller wrote it
    said = said if len(said) <= MAX_SAID_CHARS else f"{said[:MAX_SAID_CHARS]}..."
    return RequestRejected(f"{name} is {said}, it must be {wanted}", param=name, code="invalid_value")
