"""Every route there is. `tests/gateway/test_openapi.py` holds it against the application's own."""

from gateway.embedded.request import EmbeddingsBody
from gateway.openapi.document import Operation, Param
from gateway.routes.admin import LoadBody
from gateway.routes.admin import WarmBody as PrefixBody
from gateway.routes.backends import NothingBody, WeightBody
from gateway.routes.cache import LookupBody, PutBody
from gateway.routes.dashboard import KeyBody
from gateway.routes.entries import InvalidateBody, JudgeBody
from gateway.routes.erase import EraseBody
from gateway.routes.explain import ExplainBody
from gateway.routes.feedback import FeedbackBody
from gateway.routes.keys import CreateBody, RotateBody, WhoseBody
from gateway.routes.live import PricesBody
from gateway.routes.tenants import PolicyBody
from gateway.routes.thresholds import ChangeBody
from gateway.routes.transfer import LINES
from gateway.routes.warm import WarmBody
from gateway.shapes.completions import CompletionBody
from gateway.shapes.messages.body import MessagesBody
from gateway.shapes.responses.request import ResponsesBody
from gateway.wire import ChatBody

_ADMIN = "/admin/api"
_EVENTS = "text/event-stream"
_ENTRY = Param("entry_id", "as `x-twicetold-entry` names it", "path")
_NAME = Param("name", "the backend's name", "path")
_MODEL = Param("name", "the model's name", "path")
_TENANT = Param("tenant", "its name, `anonymous`, or `*` for all that are not named", "path")
_KEY = Param("key_id", "as the list names it", "path")

GENERATING = (
    Operation(
        "POST", "/v1/chat/completions", "A chat completion", "a `chat.completion`, or its chunks as events", ChatBody
    ),
    Operation(
        "POST", "/v1/completions", "A raw prompt, continued", "a `text_completion`, or its chunks", CompletionBody
    ),
    Operation("POST", "/v1/responses", "OpenAI's Responses", "a `response`, or its events", ResponsesBody),
    Operation("POST", "/v1/messages", "Anthropic's Messages", "a `message`, or its events", MessagesBody),
    Operation(
        "POST",
        "/v1/messages/count_tokens",
        "What a prompt weighs",
        "`input_tokens`, where its server can count",
        MessagesBody,
    ),
    Operation("POST", "/v1/embeddings", "Vectors of texts, kept one by one", "a `list` of embeddings", EmbeddingsBody),
    Operation("GET", "/v1/models", "The models every backend serves", "a `list`"),
)

CACHE = (
    Operation(
        "POST",
        "/v1/cache/lookup",
        "Ask the answer cache without generating",
        "`hit`, `tier`, `reason`, `entry`, and the whole `response` of a hit; a miss has an `id` to answer to",
        LookupBody,
    ),
    Operation(
        "PUT",
        "/v1/cache/entries",
        "Keep what the app's own model said",
        "`kept`, `entry`, and the `reason` when it is not kept (docs/requests.md). What is kept is served"
        " from now on; the `reason` is `complete` when the disk or Redis has it, and `in_memory` while that"
        ' refuses or is silent (`twicetold_cache_failures_total{step="exact_write"}`): then it'
        " may be gone at a restart",
        PutBody,
    ),
    Operation("POST", "/v1/cache/feedback", "Say what an answer was worth", "what came of the verdict", FeedbackBody),
)

SEEING = (
    Operation("GET", f"{_ADMIN}/stats", "Totals, percentiles, money, engines, backends", "what the dashboard shows"),
    Operation(
        "GET",
        f"{_ADMIN}/live",
        "Every request as it ends",
        "events `request`, one JSON object each",
        params=(Param("replay", "so many earlier ones first, at most 200", kind="integer"),),
        media=_EVENTS,
    ),
    Operation(
        "GET",
        f"{_ADMIN}/requests",
        "The last requests, newest first",
        "`data`",
        params=(
            Param("limit", "at most 1,000", kind="integer"),
            Param("tier", "of this tier only"),
            Param("model", "of this model only"),
        ),
    ),
    Operation(
        "GET",
        f"{_ADMIN}/series",
        "Requests, errors and savings over time",
        "`step_s` and `points`",
        params=(Param("minutes", "back from now, at most a week", kind="integer"),),
    ),
    Operation("GET", f"{_ADMIN}/quality", "Wrong hits with their bounds, and how would-be hits spread", "`lanes`"),
    Operation("GET", f"{_ADMIN}/prices", "The price list", "`currency`, and `models` per million tokens"),
    Operation("PUT", f"{_ADMIN}/prices", "Another price list, as a whole", "the list", PricesBody),
    Operation("GET", f"{_ADMIN}/thresholds", "Every lane: mode, target, threshold, labels, verifiers", "`lanes`"),
    Operation("PUT", f"{_ADMIN}/thresholds", "Change a lane until the next start", "the lane as it is now", ChangeBody),
    Operation("GET", f"{_ADMIN}/prefixes", "Where prompts first differ, and what it costs", "by tenant and model"),
)

ENTRIES = (
    Operation(
        "GET",
        f"{_ADMIN}/entries",
        "Stored answers, newest first; with `meaning` the nearest to a question",
        "`data`, and `next` for the page after",
        params=(
            Param("text", "found in the question or the answer"),
            Param("meaning", "a question: those nearest to it by meaning"),
            Param("tag", "with this tag"),
            Param("model", "of this model"),
            Param("namespace", "of this namespace"),
            Param("tenant", "of this tenant"),
            Param("revision", "of this revision of the model"),
            Param("embedder", "with a vector of this embedder"),
            Param("id", "of this id"),
            Param("limit", "of one page", kind="integer"),
            Param("after", "the `next` of the page before"),
        ),
    ),
    Operation(
        "GET",
        f"{_ADMIN}/entries/{{entry_id}}",
        "One of them whole",
        "request, answer, aliases, uses, verdicts",
        params=(_ENTRY,),
    ),
    Operation(
        "POST",
        f"{_ADMIN}/entries/{{entry_id}}/judge",
        "Say what it is worth, as an operator",
        "what came of the verdict",
        JudgeBody,
        (_ENTRY,),
    ),
    Operation(
        "DELETE", f"{_ADMIN}/entries/{{entry_id}}", "Remove one, with its aliases", "how many went", params=(_ENTRY,)
    ),
    Operation(
        "POST",
        f"{_ADMIN}/invalidate",
        "Remove what meets every criterion; a dry run unless told otherwise",
        "how many, and some of them",
        InvalidateBody,
    ),
    Operation(
        "POST",
        f"{_ADMIN}/erase",
        "Erase a tenant, or what wears a tag, from everything that is kept; a dry run unless told otherwise",
        "counts by place, what is not done yet, and what the other gateways did (docs/data-care.md)",
        EraseBody,
    ),
    Operation("POST", f"{_ADMIN}/explain", "Why a request would hit or miss", "every step and its reason", ExplainBody),
    Operation(
        "GET",
        f"{_ADMIN}/explain/{{response_id}}",
        "Why a response of late did",
        "every step and its reason",
        params=(Param("response_id", "the `id` it came with", "path"),),
    ),
    Operation("POST", f"{_ADMIN}/warm", "Have a question answered and kept", "`state`, `entry`, `usage`", WarmBody),
    Operation(
        "GET",
        f"{_ADMIN}/export",
        "Stored answers as JSON lines",
        "a head, a line for each, an end with the place to go on from",
        params=(
            Param("tenant", "of this tenant"),
            Param("model", "of this model"),
            Param("namespace", "of this namespace"),
            Param("tag", "with this tag"),
            Param("after", "the place a broken export ended at"),
        ),
        media=LINES,
    ),
    Operation(
        "POST",
        f"{_ADMIN}/import",
        "Lines of an export",
        "how many were taken, and what was wrong with which line",
        params=(
            Param("first", "the number of the first line, for what is told of errors", kind="integer"),
            Param("on_conflict", "`newer`, `replace` or `keep`"),
            Param("into", "every answer to this tenant"),
            Param("map", "OLD=NEW tenant; several times"),
            Param("dry_run", "only say what would be taken", kind="boolean"),
        ),
        takes=LINES,
    ),
)

SERVING = (
    Operation("GET", f"{_ADMIN}/models", "Local models", "state, why and how far, restarts"),
    Operation("GET", f"{_ADMIN}/models/{{name}}", "One of them", "the same", params=(_MODEL,)),
    Operation("POST", f"{_ADMIN}/models", "Load a model", "its report, before it is loaded", LoadBody, status=202),
    Operation("DELETE", f"{_ADMIN}/models/{{name}}", "Unload it", "its state", params=(_MODEL,), status=202),
    Operation("GET", f"{_ADMIN}/kv", "Kept prefixes: how much in which tier, and which are shared most", "by engine"),
    Operation(
        "DELETE",
        f"{_ADMIN}/kv",
        "Forget kept prefixes",
        "whose",
        params=(Param("model", "of this model; of all unless given"),),
    ),
    Operation("POST", f"{_ADMIN}/kv/warm", "Compute and keep a prefix", "how many tokens", PrefixBody),
    Operation("GET", f"{_ADMIN}/backends", "Every backend and how it does", "`backends`, fallbacks, retries"),
    Operation(
        "POST",
        f"{_ADMIN}/backends/{{name}}/drain",
        "Take it out of service",
        "its report",
        NothingBody,
        (_NAME,),
    ),
    Operation("POST", f"{_ADMIN}/backends/{{name}}/resume", "Back into service", "its report", NothingBody, (_NAME,)),
    Operation("POST", f"{_ADMIN}/backends/{{name}}/weight", "Its weight", "its report", WeightBody, (_NAME,)),
)

KEYS = (
    Operation("GET", f"{_ADMIN}/keys", "Virtual keys, without their text", "`data`"),
    Operation("POST", f"{_ADMIN}/keys", "Make one", "its text, this once", CreateBody, status=201),
    Operation(
        "POST", f"{_ADMIN}/keys/{{key_id}}/rotate", "Another text", "it, this once", RotateBody, (_KEY,), status=201
    ),
    Operation("DELETE", f"{_ADMIN}/keys/{{key_id}}", "Revoke it", "the key", params=(_KEY,)),
    Operation("POST", f"{_ADMIN}/keys/tenant", "Whose a key is", "`tenant`", WhoseBody),
    Operation("GET", f"{_ADMIN}/tenants", "What tenants may do, and what they used", "`data`"),
    Operation("GET", f"{_ADMIN}/tenants/{{tenant}}", "One of them", "`policy`, `source`, `usage`", params=(_TENANT,)),
    Operation(
        "PUT", f"{_ADMIN}/tenants/{{tenant}}", "Say what it may do, as a whole", "the same", PolicyBody, (_TENANT,)
    ),
    Operation(
        "DELETE",
        f"{_ADMIN}/tenants/{{tenant}}",
        "Take that back: what the configuration says holds again",
        "the same",
        params=(_TENANT,),
    ),
    Operation("GET", f"{_ADMIN}/session", "Whether the dashboard has to ask for the key", "`state`"),
    Operation("POST", f"{_ADMIN}/session", "Begin a session with the admin key", "a cookie, and `csrf`", KeyBody),
    Operation("DELETE", f"{_ADMIN}/session", "End it", "`state`"),
)

PROBES = (
    Operation("GET", "/healthz", "Whether the process answers", "`status`"),
    Operation("GET", "/readyz", "Whether it can answer a chat; 503 when not", "every part in words"),
    Operation("GET", "/metrics", "Prometheus", "the exposition format", media="text/plain"),
)

OPERATIONS = (*GENERATING, *CACHE, *SEEING, *ENTRIES, *SERVING, *KEYS, *PROBES)
