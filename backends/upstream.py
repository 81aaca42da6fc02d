"""A server somewhere else as a backend: deadlines, health, its list of models. What is said to it is its flavour's."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from hashlib import blake2b

from backends.base import Health, Model
from backends.chat import COUNT, EMBEDDINGS, ChatRequest, Delta, replay
from backends.errors import (
    BackendError,
    BackendGarbage,
    BackendNotReady,
    BackendTimeout,
    BackendUnavailable,
    RequestRejected,
    UpstreamAuth,
)
from backends.flavours.base import Api, Flavour, Reader, Wishes
from backends.flavours.figures import read_figures
from backends.flavours.openai import OPENAI
from backends.flavours.responses import lacks_api
from backends.http import HTTPUpstream, Reply, Timeouts
from backends.openai_wire import parse_json
from backends.sse import EventDecoder, EventTooLarge
from backends.veil import secrets_of, veil

MAX_EVENT_BYTES = 8 * 2**20  # an image or a clip in one delta
ASK_S = 3.0  # for the model list and the health probe
LIST_TTL_S = 60.0
FAILED_LIST_TTL_S = 5.0
HEALTH_TTL_S = 10.0
MOST_NAMES = 1_000
LACKING_TTL_S = 600.0  # a server without the Responses API may be given it
WELL = Health(True)
AFTERMATH_S = 0.25  # how long the end of the body may come after [DONE] before the connection is given up


@dataclass(slots=True)
class Stats:
    """Plain counters of one upstream."""

    requests: int = 0
    failures: int = 0
    active: int = 0


class UpstreamBackend:
    """One server. `base_url` may end in `/v1` or not."""

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_key: str | None = None,
        timeouts: Timeouts | None = None,
        model_names: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        wishes: Wishes | None = None,
        revision: str | None = None,
        flavour: Flavour = OPENAI,
    ) -> None:
        """`model_names`: what it serves; empty to ask the server. Raises ValueError for a URL that is not one.

        `revision`: with a model's name, what its answers are kept under; None for the URL.
        """
        self.name = name
        self.stats = Stats()
        self._timeouts = timeouts or Timeouts()
        self._model_names = tuple(model_names)
        self._flavour = flavour
        self._wishes = wishes or Wishes()
        self._at = flavour.endpoints(base_url)
        own = {**flavour.headers(api_key or ""), **(headers or {})}
        self._secrets = secrets_of(base_url, api_key or "", own)
        self._http = HTTPUpstream(name, self._at.base, headers=own, connect_s=self._timeouts.connect_s)
        self._chat = Api(self._at.chat, flavour.write, flavour.reader, flavour.read_whole)
        self._origin = self._at.origin if revision is None else revision
        self._listed: tuple[Model, ...] = ()
        self._named: dict[str, Model] = {}  # those that were asked for, listed or not
        self._list_again_at = 0.0  # on time.monotonic()
        self._list_lock = asyncio.Lock()
        self._health = WELL
        self._health_again_at = 0.0
        self._figures: Mapping[str, float] = {}
        self._refuse_predictions: set[str] = set()  # models
        self._no_responses_until = 0.0  # on time.monotonic()
        self._figures_again_at = 0.0

    async def open(self) -> None:
        """Nothing to start: connections are made when they are needed."""

    async def close(self) -> None:
        await self._http.close()

    def model(self, name: str) -> Model:
        """The model of this name, listed or not; asks nobody."""
        speaks = self._speaks_responses
        model = self._named.get(name)
        if model is None or model.speaks_responses is not speaks:
            listed = next((model for model in self._listed if model.name == name), None)
            model = replace(listed or Model(name, self._revision(name), owned_by=self.name), speaks_responses=speaks)
            if len(self._named) >= MOST_NAMES:
                self._named.clear()  # names are the callers'
            self._named[name] = model
        return model

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
                self._named.clear()
        return tuple(replace(model, speaks_responses=self._speaks_responses) for model in self._listed)

    async def health(self) -> Health:
        """Ready unless the last contact failed; a server not heard of lately is asked how it is."""
        if time.monotonic() >= self._health_again_at:
            try:
                await (self._probe() if self._at.health else self._ask_models())
                self._heard(None)
            except BackendError as error:
                self._heard(error)
        if self._health.is_ready and self._flavour.figures and time.monotonic() >= self._figures_again_at:
            self._figures_again_at = time.monotonic() + HEALTH_TTL_S
            self._figures = await self._ask_figures()
        return replace(self._health, figures=self._figures)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Ask the upstream the way the caller asked. Closing the generator closes the connection at once."""
        line = self._line(request)
        body = line.write(request, self._wishes_for(request.model))  # failing here says nothing of the server
        with _Counted(self):
            now_s, limits = asyncio.get_running_loop().time(), self._timeouts
            total = now_s + limits.total_s
            first = min(total, now_s + limits.first_token_s) if request.stream else total
            line, answering = await self._reach(line, request, body, first)
            async with aclosing(answering) as reply:
                self._heard(None)
                if _is_event_stream(reply, request):
                    async with aclosing(self._deltas(line.reader(self.name, request), reply, first, total)) as deltas:
                        async for delta in deltas:
                            yield delta
                else:
                    for delta in replay(line.read_whole(await reply.read_all(total), self.name)):
                        yield delta

    async def _deltas(self, reader: Reader, reply: Reply, first: float, total: float) -> AsyncGenerator[Delta, None]:
        clock = asyncio.get_running_loop().time
        decoder = EventDecoder(MAX_EVENT_BYTES)
        chunk: bytes | None = b""
        deadline, is_done = first, False
        while chunk is not None and not is_done:
            chunk, has_said = await reply.read(deadline), False
            try:
                for payload in decoder.end() if chunk is None else decoder.feed(chunk):
                    for delta in reader.read(payload):
                        yield delta
                    is_done = reader.is_done
                    has_said = True
                    if is_done:
                        break
            except EventTooLarge as error:
                raise BackendGarbage(f"{self.name} sent an event that is too large") from error
            if has_said:  # comments that keep a connection alive say nothing
                deadline = min(total, clock() + self._timeouts.idle_s)
        reader.check_whole()
        if is_done:
            await _read_to_end(reply, clock() + AFTERMATH_S)

    def _line(self, request: ChatRequest) -> Api:
        """The API that a request is for. Raises `RequestRejected` where the server has none of it."""
        flavour = self._flavour
        if request.purpose:
            return self._aside(request.purpose)
        if request.native is not None and self._speaks_responses and flavour.responses is not None:
            return replace(flavour.responses, path=self._at.chat.replace("/chat/completions", "/responses"))
        if request.needs:
            raise RequestRejected(f"{request.needs} needs a server that has the Responses API.", param=request.needs)
        if request.prompt is None:
            return self._chat
        if flavour.completions is None:
            raise RequestRejected("This model answers chats; it does not continue a raw prompt.", param="prompt")
        return replace(flavour.completions, path=self._at.chat.replace("/chat/completions", "/completions"))

    def _aside(self, purpose: str) -> Api:
        """The API for what is no answer. Raises `RequestRejected` where the server has none."""
        chat = self._at.chat
        if purpose == EMBEDDINGS and self._flavour.embeddings is not None:
            return replace(self._flavour.embeddings, path=chat.replace("/chat/completions", "/embeddings"))
        if purpose == COUNT and self._flavour.count is not None:
            return replace(self._flavour.count, path=chat + self._flavour.count.path)
        what = "has no embeddings" if purpose == EMBEDDINGS else "cannot count tokens"
        raise RequestRejected(f"The server of this model {what}.", param="model", code="unsupported_by_model")

    async def _reach(self, line: Api, request: ChatRequest, body: bytes, deadline: float) -> tuple[Api, Reply]:
        """The reply, and the API it is of: a server that turns out to have no Responses API is asked in chat."""
        try:
            return line, await self._ask_for(line, request, body, deadline)
        except BackendError as error:
            if request.native is None or not lacks_api(error):
                raise
        self._no_responses_until = time.monotonic() + LACKING_TTL_S
        line = self._line(request)
        body = line.write(request, self._wishes_for(request.model))
        return line, await self._ask_for(line, request, body, deadline)

    @property
    def _speaks_responses(self) -> bool:
        return self._flavour.responses is not None and time.monotonic() >= self._no_responses_until

    async def _ask_for(self, line: Api, request: ChatRequest, body: bytes, deadline: float) -> Reply:
        """As `_ask`. A model that refuses the prediction we added is asked without it, now and from now on."""
        said = self._flavour.headers_of(request)
        try:
            return await self._ask("POST", line.path, body, deadline, said)
        except RequestRejected as error:
            plain = line.write(request, replace(self._wishes, predicts=False))
            if plain == body or "prediction" not in (error.param or error.message):
                raise
        self._refuse_predictions.add(request.model)
        if len(self._refuse_predictions) > MOST_NAMES:
            self._refuse_predictions.clear()  # names are the callers'
        return await self._ask("POST", line.path, plain, deadline, said)

    def _wishes_for(self, model: str) -> Wishes:
        return replace(self._wishes, predicts=False) if model in self._refuse_predictions else self._wishes

    async def _ask(
        self, method: str, path: str, body: bytes | None, deadline: float, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """A reply that is a success. Raises `BackendError`."""
        reply = await self._http.send(method, path, body, deadline=deadline, headers=headers)
        if reply.status == 200:
            return reply
        async with aclosing(reply):
            error = self._flavour.read_error(reply.status, reply.headers, await reply.read_all(deadline), self.name)
            veil(error, self._secrets)
            raise error

    async def _probe(self) -> None:
        """Ask whether it can serve now. Raises `BackendError`."""
        deadline = asyncio.get_running_loop().time() + ASK_S
        async with aclosing(await self._http.send("GET", self._at.health, deadline=deadline)) as reply:
            body = await reply.read_all(deadline)
        if reply.status >= 500:  # a server without this path says 404, and is there
            raise BackendNotReady(f"{self.name} is not ready (status {reply.status})")
        if reply.status in (401, 403):
            raise self._flavour.read_error(reply.status, reply.headers, body, self.name)

    async def _ask_figures(self) -> Mapping[str, float]:
        """What the engine counts; nothing where that is not switched on."""
        deadline = asyncio.get_running_loop().time() + ASK_S
        with suppress(BackendError):
            async with aclosing(await self._ask("GET", self._at.metrics, None, deadline)) as reply:
                said = await reply.read_all(deadline)
            return read_figures(said.decode("utf-8", "replace"), self._flavour.figures)
        return {}

    async def _ask_models(self) -> tuple[Model, ...]:
        if not self._at.models:
            return ()
        deadline = asyncio.get_running_loop().time() + ASK_S
        async with aclosing(await self._ask("GET", self._at.models, None, deadline)) as reply:
            items = parse_json(await reply.read_all(deadline), self.name).get("data")
        if not isinstance(items, list):
            raise BackendGarbage(f"{self.name} has no list of models")
        return tuple(
            self._flavour.read_model(item, self._revision(str(item["id"])), self.name)
            for item in items
            if isinstance(item, dict) and item.get("id")
        )

    def _revision(self, model: str) -> str:
        return blake2b(f"{self._origin}\n{model}".encode(), digest_size=16).hexdigest()

    def _heard(self, error: BackendError | None) -> None:
        """Learn from a contact whether the server is there; an error about one request says that it is."""
        is_ready = not isinstance(error, BackendUnavailable | BackendTimeout | UpstreamAuth)
        self._health = WELL if is_ready else Health(False, str(error))
        self._health_again_at = time.monotonic() + HEALTH_TTL_S

    def failed(self, error: BackendError) -> None:
        """A request has come to nothing; what it says of that shows nothing of ours."""
        self.stats.failures += 1
        veil(error, self._secrets)
        self._heard(error)


class _Counted:
    """A request on its way."""

    __slots__ = ("_backend",)

    def __init__(self, backend: UpstreamBackend) -> None:
        self._backend = backend

    def __enter__(self) -> None:
        self._backend.stats.requests += 1
        self._backend.stats.active += 1

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._backend.stats.active -= 1
        if isinstance(error, BackendError):
            self._backend.failed(error)


def _is_event_stream(reply: Reply, request: ChatRequest) -> bool:
    """Servers that do not stream answer with JSON; those that do not name the type get what was asked for."""
    kind = reply.headers.get("content-type", "")
    return "event-stream" in kind or (request.stream and "json" not in kind and "html" not in kind)


async def _read_to_end(reply: Reply, deadline: float) -> None:
    """Read what follows `[DONE]`, so that the connection can be used again, unless it lingers."""
    with suppress(BackendError):
        while await reply.read(deadline) is not None:
            pass
