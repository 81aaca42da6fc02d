"""As `client`, for async code. What is said and understood is in `calls`, the sending in `transport`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar, Unpack, overload

import anyio
import httpx

from twicetold import calls
from twicetold.admin import Entry, EntryPage, Imported, Invalidation, Said, Stats, Warmed, WholeEntry
from twicetold.answers import ChatAnswer
from twicetold.batches import Line, batches
from twicetold.calls import Answer, Verdict
from twicetold.closing import AsyncClosing
from twicetold.config import DEFAULT_URL, TIMEOUT_S, Config
from twicetold.controls import CacheOptions
from twicetold.embeddings import Embeddings
from twicetold.errors import APIStatusError, TwicetoldError
from twicetold.options import (
    ChatOptions,
    EmbeddingOptions,
    ExportCriteria,
    ImportOptions,
    Messages,
    PrefixOptions,
    ResponseOptions,
)
from twicetold.responses import ResponseAnswer
from twicetold.retrying import Retries
from twicetold.sending import JSON
from twicetold.store import Kept, Lookup
from twicetold.streams import AsyncChatStream, AsyncPieces, AsyncStream
from twicetold.transport import AsyncTransport

T = TypeVar("T")


class AsyncTwicetold(AsyncClosing):
    """A Twicetold gateway. Use it as an async context manager, or `close` it; tasks of one loop may share it."""

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        admin_key: str | None = None,
        model: str | None = None,
        timeout: float = TIMEOUT_S,
        retries: Retries | int = 2,
        cache: CacheOptions | None = None,
        headers: Mapping[str, str] | None = None,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        """`model` and `cache` are of every call that names no other; `timeout` is in seconds."""
        self._config = Config.of(base_url, api_key, admin_key, model, timeout, retries, cache, headers)
        self._line = AsyncTransport(self._config, http_client)

    # -- answers -------------------------------------------------------------------------------------------------------

    @overload
    async def chat(
        self,
        messages: Messages,
        *,
        model: str | None = ...,
        stream: Literal[False] = ...,
        **options: Unpack[ChatOptions],
    ) -> ChatAnswer: ...
    @overload
    async def chat(
        self, messages: Messages, *, model: str | None = ..., stream: Literal[True], **options: Unpack[ChatOptions]
    ) -> AsyncChatStream: ...
    @overload
    async def chat(
        self, messages: Messages, *, model: str | None = ..., stream: bool, **options: Unpack[ChatOptions]
    ) -> ChatAnswer | AsyncChatStream: ...
    async def chat(
        self, messages: Messages, *, model: str | None = None, stream: bool = False, **options: Unpack[ChatOptions]
    ) -> ChatAnswer | AsyncChatStream:
        """Ask. `messages` is a text, or messages in OpenAI's JSON."""
        name, wishes = self._config.model_of(model), self._config.options(options)
        if stream:
            call = calls.chat_stream(messages, name, wishes)
            response, cache = await self._line.begin(call)
            return AsyncChatStream(response, call.decoder(), cache)
        return await self._line.send(calls.chat(messages, name, wishes))

    @overload
    async def respond(
        self, input: str | Sequence[JSON], *, model: str | None = ..., stream: Literal[False] = ...,
        **options: Unpack[ResponseOptions],
    ) -> ResponseAnswer: ...  # fmt: skip
    @overload
    async def respond(
        self, input: str | Sequence[JSON], *, model: str | None = ..., stream: Literal[True],
        **options: Unpack[ResponseOptions],
    ) -> AsyncStream[JSON]: ...  # fmt: skip
    @overload
    async def respond(
        self, input: str | Sequence[JSON], *, model: str | None = ..., stream: bool, **options: Unpack[ResponseOptions]
    ) -> ResponseAnswer | AsyncStream[JSON]: ...
    async def respond(
        self,
        input: str | Sequence[JSON],
        *,
        model: str | None = None,
        stream: bool = False,
        **options: Unpack[ResponseOptions],
    ) -> ResponseAnswer | AsyncStream[JSON]:
        """Ask by /v1/responses; streamed, its events come as they are."""
        name, wishes = self._config.model_of(model), self._config.options(options)
        if stream:
            call = calls.respond_stream(input, name, wishes)
            response, cache = await self._line.begin(call)
            return AsyncStream(response, call.decoder(), cache)
        return await self._line.send(calls.respond(input, name, wishes))

    async def embeddings(
        self,
        input: str | Sequence[str],
        *,
        model: str | None = None,
        **options: Unpack[EmbeddingOptions],
    ) -> Embeddings:
        """Vectors of texts; each text that was seen before is had from the cache."""
        name, wishes = self._config.model_of(model), self._config.options(options)
        return await self._line.send(calls.embeddings(input, name, wishes))

    async def models(self) -> list[str]:
        """Names of the models that can be asked."""
        return await self._line.send(calls.models())

    # -- the cache without the proxy -----------------------------------------------------------------------------------

    async def lookup(self, messages: Messages, *, model: str | None = None, **options: Unpack[ChatOptions]) -> Lookup:
        """A stored answer, if there is one that may be served. Nothing is generated."""
        return await self._line.send(
            calls.lookup(messages, self._config.model_of(model), self._config.options(options))
        )

    async def put(
        self,
        messages: Messages,
        answer: Any,
        *,
        model: str | None = None,
        lookup: Lookup | str | None = None,
        elapsed_s: float | None = None,
        **options: Unpack[ChatOptions],
    ) -> Kept:
        """Keep what your own model answered: a text, or a chat completion. `lookup` is the miss that it answers."""
        name, wishes = self._config.model_of(model), self._config.options(options)
        return await self._line.send(calls.put(messages, answer, name, wishes, lookup=lookup, elapsed_s=elapsed_s))

    @overload
    async def cached(
        self,
        messages: Messages,
        ask: Callable[[], Awaitable[Answer]],
        *,
        model: str | None = ...,
        **options: Unpack[ChatOptions],
    ) -> str: ...
    @overload
    async def cached(
        self,
        messages: Messages,
        ask: Callable[[], Awaitable[T]],
        *,
        model: str | None = ...,
        **options: Unpack[ChatOptions],
    ) -> str | T: ...
    async def cached(
        self,
        messages: Messages,
        ask: Callable[[], Awaitable[Any]],
        *,
        model: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> Any:
        """The text of a stored answer, or of what `ask` answers, which is kept. A gateway that is away is done
        without; what is no answer (None, say) comes back as it is and is not kept."""
        found = None
        with suppress(TwicetoldError):
            found = await self.lookup(messages, model=model, **options)
        if found:
            return found.text
        answer = await ask()
        with suppress(TwicetoldError, TypeError, ValueError):  # whatever the cache says of it, the caller gets it
            await self.put(messages, answer, model=model, lookup=found, **options)
        return calls.text_of(answer)

    async def feedback(
        self, answer: Any = None, verdict: Verdict | bool = "good", *, comment: str = "", entry: str | None = None
    ) -> Said:
        """Say what an answer was worth: a response or its id, or a stored `entry`. Two bad verdicts retire an entry."""
        return await self._line.send(calls.feedback(answer, verdict, comment, entry))

    # -- the operator's ------------------------------------------------------------------------------------------------

    async def stats(self) -> Stats:
        """What the gateway did since it started."""
        return await self._line.send(calls.stats())

    async def entries(
        self,
        *,
        text: str | None = None,
        meaning: str | None = None,
        tag: str | None = None,
        model: str | None = None,
        namespace: str | None = None,
        tenant: str | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[Entry]:
        """Stored answers, newest first, read page by page; by `meaning`, nearest first. What is given must hold."""
        wanted = {"tag": tag, "model": model, "namespace": namespace, "tenant": tenant}
        criteria = {"text": text, "meaning": meaning, **wanted}
        page: EntryPage | None = None
        while page is None or page.next is not None:
            page = await self._line.send(calls.entries(criteria, page_size, None if page is None else page.next))
            for entry in page.entries:
                yield entry

    async def entry(self, entry_id: str) -> WholeEntry:
        """One stored answer, whole."""
        return await self._line.send(calls.entry(entry_id))

    async def delete_entry(self, entry_id: str) -> int:
        """Remove one stored answer and its aliases; how many that were."""
        return await self._line.send(calls.delete_entry(entry_id))

    async def invalidate(
        self,
        *,
        id: str | None = None,
        tag: str | None = None,
        model: str | None = None,
        namespace: str | None = None,
        tenant: str | None = None,
        older_than: float | None = None,
        all: bool | None = None,
        dry_run: bool = False,
    ) -> Invalidation:
        """Remove what meets every criterion; `older_than` is in seconds. `dry_run` only says what would go."""
        criteria = {"id": id, "tag": tag, "model": model, "namespace": namespace, "tenant": tenant}
        return await self._line.send(
            calls.invalidate({**criteria, "older_than": older_than, "all": all}, dry_run=dry_run)
        )

    async def explain(self, messages: Messages, *, model: str | None = None, **options: Unpack[ChatOptions]) -> JSON:
        """Why a request of this client would hit or miss; it is not sent."""
        name, wishes = self._config.model_of(model), self._config.options(options)
        return await self._line.send(calls.explain(messages, name, wishes, self._config.api_key or ""))

    async def explain_response(self, response: Any) -> JSON:
        """Why a response, or the one of this id, was answered as it was."""
        return await self._line.send(calls.explain_response(calls.id_of(response)))

    async def warm(
        self,
        questions: str | Iterable[Messages],
        *,
        model: str | None = None,
        refresh: bool = False,
        at_once: int = 4,
        **options: Unpack[ChatOptions],
    ) -> Warmed:
        """Have questions answered before anybody asks them, some at once, for callers with this client's key.

        What is stored already is not asked again, unless `refresh` says so.
        """
        done, name, wishes = Warmed(), self._config.model_of(model), self._config.options(options)
        todo, broken = iter(calls.questions_of(questions)), list[TwicetoldError]()

        async def work() -> None:
            nonlocal done
            for question in todo:
                try:
                    call = calls.warm(question, name, wishes, self._config.api_key, refresh=refresh)
                    state = await self._line.send(call)
                    done = done.counted(state)
                except APIStatusError as error:
                    done = done.failed(question, error)
                except TwicetoldError as error:  # the others would meet the same
                    broken.append(error)
                if broken:
                    return

        async with anyio.create_task_group() as group:
            for _ in range(at_once):
                group.start_soon(work)
        if broken:
            raise broken[0]
        return done

    async def warm_prefix(
        self, messages: Messages, *, model: str | None = None, **options: Unpack[PrefixOptions]
    ) -> JSON:
        """Compute the KV blocks of a prompt's head on a local model, and pin them."""
        name = self._config.model_of(model)
        return await self._line.send(
            calls.warm_prefix(messages, name, self._config.options(options), self._config.api_key)
        )

    async def export(self, **criteria: Unpack[ExportCriteria]) -> AsyncPieces[JSON]:
        """Stored answers, line by line: a header, entries, an end."""
        call = calls.export(criteria)
        return AsyncPieces(await self._line.open(call), call.decoder())

    async def import_(self, lines: Iterable[Line], **options: Unpack[ImportOptions]) -> Imported:
        """Keep the lines of an export, some at a time."""
        done = Imported()
        for first, content in batches(lines):
            done += await self._line.send(calls.import_lines(content, first, options))
        return done

    async def admin(self, method: str, path: str, body: JSON | None = None, **query: str | int) -> Any:
        """Any other call below /admin/api, as JSON: `client.admin("GET", "/quality")`."""
        return await self._line.send(calls.any_admin(method, path, body, query))

    async def close(self) -> None:
        """Let go of the connections, unless they are the caller's."""
        await self._line.close()
