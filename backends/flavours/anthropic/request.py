"""A chat request as a body of Anthropic's Messages API. Pure; what it cannot say is refused, not left out quietly.

Left out are fields that steer OpenAI's service or its sampling and have no counterpart: `seed`, penalties,
`logit_bias`, `store` and the like. A field known to neither side goes along as it came, for the API to judge.
"""

from collections.abc import Mapping
from typing import Any

from backends.chat import ChatRequest, Fields
from backends.errors import RequestRejected
from backends.flavours.anthropic.models import takes_sampling, usual_max_tokens
from backends.flavours.anthropic.turns import refused, system_and_turns

_NO_COUNTERPART = frozenset(
    {
        "anthropic_beta", "frequency_penalty", "function_call", "logit_bias", "logprobs", "max_completion_tokens",
        "metadata", "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key",
        "prompt_cache_retention", "reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier",
        "stop", "store", "stream_options", "system", "temperature", "timeout", "tool_choice", "tools", "top_k",
        "top_logprobs", "top_p", "user", "verbosity",
    }
)  # fmt: skip
_OF_TOOLS = ("input_examples", "eager_input_streaming", "defer_loading", "allowed_callers")
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}


def message_body(request: ChatRequest, max_tokens: int = 0) -> dict[str, Any]:
    """The body, without marks for its cache. Raises `RequestRejected`.

    `max_tokens`: for a caller who names none; 0 for what the model takes.
    """
    params = {key: value for key, value in request.params.items() if value is not None}
    _refuse_what_it_cannot(params)
    body: dict[str, Any] = {key: value for key, value in params.items() if key not in _NO_COUNTERPART}
    body |= {"model": request.model, "stream": request.stream}
    system, body["messages"] = system_and_turns(request.messages)
    if system := [*_own_system(params.get("system")), *system]:
        body["system"] = system
    thinking = params.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else 0
    body["max_tokens"] = (
        params.get("max_completion_tokens")
        or params.get("max_tokens")
        or (max_tokens or usual_max_tokens(request.model)) + (budget if isinstance(budget, int) else 0)
    )
    body |= _sampled(request, params) | _manner(params) | _tools(params) | _output(params)
    return body


def _refuse_what_it_cannot(params: Fields) -> None:
    if (params.get("n") or 1) != 1:
        raise _cannot("n", "one answer at a time")
    if params.get("logprobs"):
        raise _cannot("logprobs", "no log probabilities")
    if params.get("functions"):
        raise _cannot("functions", "tools, not functions")
    modalities = params.get("modalities")
    if params.get("audio") or (modalities and modalities != ["text"]):
        raise _cannot("modalities", "text only")


def _own_system(said: Any) -> list[dict[str, Any]]:
    """The API's own field, from a caller who knows it; messages of that role stand below it."""
    if said is None or isinstance(said, str):
        return [{"type": "text", "text": said}] if said and said.strip() else []
    if not isinstance(said, list) or not all(isinstance(block, Mapping) for block in said):
        raise refused("system", "system must be a text or a list of blocks.")
    return [dict(block) for block in said]


def _cannot(param: str, has: str) -> RequestRejected:
    return RequestRejected(f"{param} cannot be asked of this model: its API has {has}.", param=param)


# -- tools -----------------------------------------------------------------------------------------------------------


def _tools(params: Fields) -> dict[str, Any]:
    tools = params.get("tools")
    if not tools:
        return {}
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise refused("tools", "tools must be a list of objects.")
    said: dict[str, Any] = {"tools": [_tool(tool) for tool in tools]}
    choice = _tool_choice(params.get("tool_choice"))
    if params.get("parallel_tool_calls") is False and (choice or {}).get("type") != "none":
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return {**said, **({"tool_choice": choice} if choice else {})}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, Mapping):
        return dict(tool)  # one of the API's own: web search, code execution
    said = {
        "name": function.get("name"),
        "description": function.get("description"),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
        "strict": function.get("strict"),
        **{key: tool.get(key) for key in _OF_TOOLS},
        "cache_control": tool.get("cache_control") or function.get("cache_control"),
    }
    return {key: value for key, value in said.items() if value is not None}


def _tool_choice(choice: Any) -> dict[str, Any] | None:
    if isinstance(choice, Mapping):
        function = choice.get("function")
        if choice.get("type") == "function" and isinstance(function, Mapping):
            return {"type": "tool", "name": function.get("name")}
        return dict(choice)
    if choice is None:
        return None
    if not isinstance(choice, str) or choice not in _CHOICES:
        raise refused("tool_choice", "tool_choice must be auto, required, none or the choice of a function.")
    return {"type": _CHOICES[choice]}


# -- sampling and output ---------------------------------------------------------------------------------------------


def _sampled(request: ChatRequest, params: Fields) -> dict[str, Any]:
    if request.dialect == "anthropic":  # who speaks the API says what it takes
        return {key: params[key] for key in ("temperature", "top_p", "top_k") if key in params}
    return _sampling(params) if takes_sampling(request.model) else {}


def _sampling(params: Fields) -> dict[str, Any]:
    """What models that take any of it take: not the first two together, and no temperature over 1."""
    said = {key: params[key] for key in ("top_p", "top_k") if key in params}
    if isinstance(temperature := params.get("temperature"), int | float):
        said = {"temperature": min(temperature, 1), **{key: said[key] for key in said if key != "top_p"}}
    return said


def _manner(params: Fields) -> dict[str, Any]:
    said: dict[str, Any] = {}
    stop = params.get("stop") or []
    given = [stop] if isinstance(stop, str) else stop
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise refused("stop", "stop must be a text or a list of texts.")
    sequences = [text for text in given if text.strip()]
    if sequences:
        said["stop_sequences"] = sequences
    if isinstance(user := params.get("user"), str):
        said["metadata"] = {"user_id": user}
    if (service := params.get("service_tier")) in ("auto", "default", "standard_only"):
        said["service_tier"] = "auto" if service == "auto" else "standard_only"
    return said


def _output(params: Fields) -> dict[str, Any]:
    """How hard to think, and the form of the answer."""
    given = params.get("output_config")
    said: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    effort = params.get("reasoning_effort")
    if effort is not None and (not isinstance(effort, str) or effort not in {*_EFFORTS, "none"}):
        raise refused("reasoning_effort", f"reasoning_effort must be one of {', '.join(['none', *_EFFORTS])}.")
    if effort in _EFFORTS:
        said.setdefault("effort", _EFFORTS[effort])
    wanted = params.get("response_format") or {}
    if not isinstance(wanted, Mapping):
        raise refused("response_format", "response_format must be an object.")
    if wanted.get("type") == "json_schema":
        schema = wanted.get("json_schema")
        if not isinstance(schema, Mapping) or not isinstance(schema.get("schema"), Mapping):
            raise refused("response_format", "response_format has no schema.")
        said.setdefault("format", {"type": "json_schema", "schema": schema["schema"]})
    elif wanted.get("type") not in (None, "text"):
        raise _cannot("response_format", "json_schema, and no JSON without one")
    thinking = {"thinking": {"type": "disabled"}} if effort == "none" and "thinking" not in params else {}
    return {**({"output_config": said} if said else {}), **thinking}
