"""Any server that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp, Ollama, the providers themselves."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from backends.base import Health, Model
from backends.chat import ChatRequest, Delta, replay
from backends.errors import BackendError, BackendGarbage, BackendTimeout, BackendUnavailable, UpstreamAuth
from backends.http import HTTPUpstream, Reply, Timeouts, api_root
from backends.openai_wire import StreamReader, error_from_reply, parse_completion, parse_json, request_body
from backends.sse import EventDecoder, EventTooLarge

MAX_EVENT_BYTES = 8 * 2**20  # an image or a clip in one delta
ASK_S = 3.0  # for the model list and the health probe
LIST_TTL_S = 60.0
FAILED_LIST_TTL_S = 5.0
HEALTH_TTL_S = 10.0
AFTERMATH_S = 0.25  # how long the end of the body may come after [DONE] before the connection is given up


@dataclass(slots=True)
class Stats:
    """Plain counters of one upstream."""

    requests: int = 0
    failures: int = 0
    active: int = 0


class OpenAIBackend:
    """One OpenAI-compatible upstream. `base_url` may end in `/v1` or not."""

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_key: str | None = None,
        timeouts: Timeouts | None = None,
        model_names: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        predicts: bool = False,
        revision: str | None = None,
    ) -> None:
        """`model_names`: what it serves; empty to ask the server. Raises ValueError for a URL that is not one.

        `revision`: with a model's name, what its answers are kept under; None for the URL.

        `predicts`: near answers are sent along as predictions. OpenAI bills their tokens that do not come true, and
        other servers may refuse the field.
        """
        self.name = name
        self.stats = Stats()
        self._timeouts = timeouts or Timeouts()
        self._model_names = tuple(model_names)
        self._predicts = predicts
        key = {"authorization": f"Bearer {api_key}"} if api_key else {}
        root = api_root(base_url)
        self._http = HTTPUpstream(name, root, headers={**key, **(headers or {})}, connect_s=self._timeouts.connect_s)
        self._origin = root if revision is None else revision
        self._listed: tuple[Model, ...] = ()
        self._list_again_at = 0.0  # on time.monotonic()
        self._list_lock = asyncio.Lock()
        self._health = Health(True)
        self._health_again_at = 0.0

    async def open(self) -> None:
        """Nothing to start: connections are made when they are needed."""

    async def close(self) -> None:
        await self._http.close()

    def model(self, name: str) -> Model:
        """The model of this name, listed or not; asks nobody."""
        listed = next((model for model in self._listed if model.name == name), None)
        return listed or Model(name, self._revision(name), owned_by=self.name)

    async def models(self) -> Sequence[Model]:
        """The configured names, else the server's own list, asked at most once a minute; empty when it has none."""
        if self._model_names:
            return [self.model(name) for name in self._model_names]
        async with self._list_lock:
            if time.monotonic() >= self._list_again_at:
                try:
                    self._listed, ttl_s = await self._ask_models(), LIST_TTL_S
                except BackendError:
                    self._listed, ttl_s = (), FAILED_LIST_TTL_S
                self._list_again_at = time.monotonic() + ttl_s
        return self._listed

    async def health(self) -> Health:
        """Ready unless the last contact failed; a server not heard of lately is asked for its models."""
        if time.monotonic() >= self._health_again_at:
            try:
                await self._ask_models()
                self._heard(None)
            except BackendError as error:
                self._heard(error)
        return self._health

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Ask the upstream the way the caller asked. Closing the generator closes the connection at once."""
        with self._counted():
            now_s, limits = asyncio.get_running_loop().time(), self._timeouts
            total = now_s + limits.total_s
            first = min(total, now_s + limits.first_token_s) if request.stream else total
            body = request_body(request, predicts=self._predicts)
            async with aclosing(await self._ask("POST", "/chat/completions", body, first)) as reply:
                self._heard(None)
                if _is_event_stream(reply, request):
                    async with aclosing(self._deltas(reply, request.params.get("n"), first, total)) as deltas:
                        async for delta in deltas:
                            yield delta
                else:
                    for delta in replay(parse_completion(await reply.read_all(total), self.name)):
                        yield delta

    async def _deltas(self, reply: Reply, num_choices: Any, first: float, total: float) -> AsyncGenerator[Delta, None]:
        clock = asyncio.get_running_loop().time
        decoder = EventDecoder(MAX_EVENT_BYTES)
        reader = StreamReader(self.name, num_choices if isinstance(num_choices, int) else 1)
        chunk: bytes | None = b""
        deadline, is_done = first, False
        while chunk is not None and not is_done:
            chunk = await reply.read(deadline)
            try:
                for payload in decoder.end() if chunk is None else decoder.feed(chunk):
                    if payload == b"[DONE]":
                        is_done = True
                        break
                    for delta in reader.read(payload):
                        yield delta
                    deadline = min(total, clock() + self._timeouts.idle_s)
            except EventTooLarge as error:
                raise BackendGarbage(f"{self.name} sent an event that is too large") from error
        reader.check_whole(is_done=is_done)
        if is_done:
            await _read_to_end(reply, clock() + AFTERMATH_S)

    async def _ask(self, method: str, path: str, body: bytes | None, deadline: float) -> Reply:
        """A reply that is a success. Raises `BackendError`."""
        reply = await self._http.send(method, path, body, deadline=deadline)
        if reply.status == 200:
            return reply
        async with aclosing(reply):
            raise error_from_reply(reply.status, reply.headers, await reply.read_all(deadline), self.name)

    async def _ask_models(self) -> tuple[Model, ...]:
        deadline = asyncio.get_running_loop().time() + ASK_S
        async with aclosing(await self._ask("GET", "/models", None, deadline)) as reply:
            items = parse_json(await reply.read_all(deadline), self.name).get("data")
        if not isinstance(items, list):
            raise BackendGarbage(f"{self.name} has no list of models")
        return tuple(self._model_from(item) for item in items if isinstance(item, dict) and item.get("id"))

    def _model_from(self, item: Mapping[str, Any]) -> Model:
        name, created, context = str(item["id"]), item.get("created"), item.get("max_model_len")
        return Model(
            name,
            self._revision(name),
            context_tokens=context if isinstance(context, int) else None,
            created=created if isinstance(created, int) else 0,
            owned_by=str(item.get("owned_by") or self.name),
        )

    def _revision(self, model: str) -> str:
        return blake2b(f"{self._origin}\n{model}".encode(), digest_size=16).hexdigest()

    def _heard(self, error: BackendError | None) -> None:
        """Learn from a contact whether the server is there; an error about one request says that it is."""
        is_ready = not isinstance(error, BackendUnavailable | BackendTimeout | UpstreamAuth)
        self._health = Health(is_ready, "" if is_ready else str(error))
        self._health_again_at = time.monotonic() + HEALTH_TTL_S

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.stats.requests += 1
        self.stats.active += 1
        try:
            yield
        except BackendError as error:
            self.stats.failures += 1
            self._heard(error)
            raise
        finally:
            self.stats.active -= 1


def _is_event_stream(reply: Reply, request: ChatRequest) -> bool:
    """Servers that do not stream answer with JSON; those that do not name the type get what was asked for."""
    kind = reply.headers.get("content-type", "")
    return "event-stream" in kind or (request.stream and "json" not in kind and "html" not in kind)


async def _read_to_end(reply: Reply, deadline: float) -> None:
    """Read what follows `[DONE]`, so that the connection can be used again, unless it lingers."""
    with suppress(BackendError):
        while await reply.read(deadline) is not None:
            pass
