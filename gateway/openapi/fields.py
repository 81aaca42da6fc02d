"""Fields of bodies, in words: what their names do not say."""

from typing import Any

_CACHE: dict[str, Any] = {"cache": {"type": "object"}}

# fields that a shape reads by itself, so that no model names them
ALSO: dict[str, dict[str, Any]] = {
    "ChatBody": _CACHE,
    "CompletionBody": {"prompt": {"type": ["string", "array"]}, **_CACHE},
    "ResponsesBody": {"input": {"type": ["string", "array"]}, **_CACHE},
    "MessagesBody": _CACHE,
    "EmbeddingsBody": _CACHE,
}

# where a model checks by a function of its own
KINDS: dict[str, str | list[str]] = {
    "temperature": "number",
    "top_p": "number",
    "presence_penalty": "number",
    "frequency_penalty": "number",
    "stop": ["string", "array"],
    "system": ["string", "array"],
    "prediction": "object",
    "content": ["string", "array", "null"],
    "tool_calls": ["array", "null"],
    "models": "object",
    "currency": "string",
}

SAYS = {
    "all": "everything, when nothing else is named",
    "answer": "the answer as a text alone; else `response`",
    "api_key": "what those callers send as their key",
    "background": "refused: an answer is waited for here",
    "cache": "controls of the cache: [requests.md](requests.md)",
    "cache_control": "what they send as Cache-Control",
    "cache_salt": "a wall: shared only with requests that have the same",
    "controls": "of the controls that make work, those it may use; `*`: all",
    "dry_run": "only say what would go",
    "elapsed_s": "how long it took to make, for what a hit saves",
    "entry": "a stored answer; else `id`",
    "expires_in_s": "seconds; it does not end unless given",
    "grace_s": "so long the old text stays good",
    "hit_details": "`false`: it is not told which entry answers, and how alike",
    "id": "a response's id, or an entry's",
    "limits": "how much of it: [policies.md](policies.md)",
    "lookup": "the `id` of the miss that this answers",
    "max_ttl_s": "nothing it asks is kept longer",
    "max_wrong_hit_rate": "wrong semantic hits, of all semantic hits",
    "metadata": "passed on, and no part of a key",
    "mode": "`shadow`: decide and measure, never serve",
    "older_than": "seconds",
    "pin": "keep it from eviction",
    "policy": "what the key allows of its tenant's: [policies.md](policies.md)",
    "previous_response_id": "what was said up to that response comes before `input`: [responses.md](responses.md)",
    "refresh": "answer anew what is there already",
    "refuse_controls": "`true`: other controls are a 403",
    "request": "as it would be sent to its own route",
    "response": "a chat completion; else `answer`",
    "scopes": "of `chat`, `feedback`, `admin:read`, `admin:write`; `chat` and `feedback` unless given",
    "semantic_mode": "at most that",
    "settings": "those of `[engine]`",
    "shape": "the route it is for: `chat`, `completions`, `responses`, `messages`",
    "share": "part in what tenants share",
    "source": "`demo`, a directory, or ORG/NAME",
    "store": "`false`: no later request can go on from the response",
    "tenant": "a name that the admin API shows",
}
