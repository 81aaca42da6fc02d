"""The client for code that waits. What is said and understood is in `calls`, the sending in `transport`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar, Unpack, overload

import httpx

from twicetold import calls
from twicetold.admin import Entry, EntryPage, Imported, Invalidation, Said, Stats, Warmed, WholeEntry
from twicetold.answers import ChatAnswer
from twicetold.batches import Line, batches
from twicetold.calls import Answer, Verdict
from twicetold.closing import Closing
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
from twicetold.streams import ChatStream, Pieces, Stream
from twicetold.transport import Transport

T = TypeVar("T")


class Twicetold(Closing):
    """A Twicetold gateway. Use it as a context manager, or `close` it; threads may share it."""

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
        http_client: httpx.Client | None = None,
    ) -> None:
        """`model` and `cache` are of every call that names no other; `timeout` is in seconds."""
        self._config = Config.of(base_url, api_key, admin_key, model, timeout, retries, cache, headers)
        self._line = Transport(self._config, http_client)

    # -- answers -------------------------------------------------------------------------------------------------------

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        model: str | None = ...,
        stream: Literal[False] = ...,
        **options: Unpack[ChatOptions],
    ) -> ChatAnswer: ...
    @overload
    def chat(
        self, messages: Messages, *, model: str | None = ..., stream: Literal[True], **options: Unpack[ChatOptions]
    ) -> ChatStream: ...
    @overload
    def chat(
        self, messages: Messages, *, model: str | None = ..., stream: bool, **options: Unpack[ChatOptions]
    ) -> ChatAnswer | ChatStream: ...
    def chat(
        self, messages: Messages, *, model: str | None = None, stream: bool = False, **options: Unpack[ChatOptions]
    ) -> ChatAnswer | ChatStream:
        """Ask. `messages` is a text, or messages in OpenAI's JSON."""
        name, wishes = self._config.model_of(model), self._config.options(options)
        if stream:
            call = calls.chat_stream(messages, name, wishes)
            response, cache = self._line.begin(call)
            return ChatStream(response, call.decoder(), cache)
        return self._line.send(calls.chat(messages, name, wishes))

    @overload
    def respond(
        self, input: str | Sequence[JSON], *, model: str | None = ..., stream: Literal[False] = ...,
        **options: Unpack[ResponseOptions],
    ) -> ResponseAnswer: ...  # fmt: skip
    @overload
    def respond(
        self, input: str | Sequence[JSON], *, model: str | None = ..., stream: Literal[True],
        **options: Unpack[ResponseOptions],
    ) -> Stream[JSON]: ...  # fmt: skip
    @overload
    def respond(
        self, input: str | Sequence[JSON], *, model: str | None = ..., stream: bool, **options: Unpack[ResponseOptions]
    ) -> ResponseAnswer | Stream[JSON]: ...
    def respond(
        self,
        input: str | Sequence[JSON],
        *,
        model: str | None = None,
        stream: bool = False,
        **options: Unpack[ResponseOptions],
    ) -> ResponseAnswer | Stream[JSON]:
        """Ask by /v1/responses; streamed, its events come as they are."""
        name, wishes = self._config.model_of(model), self._config.options(options)
        if stream:
            call = calls.respond_stream(input, name, wishes)
            response, cache = self._line.begin(call)
            return Stream(response, call.decoder(), cache)
        return self._line.send(calls.respond(input, name, wishes))

    def embeddings(
        self,
        input: str | Sequence[str],
        *,
        model: str | None = None,
        **options: Unpack[EmbeddingOptions],
    ) -> Embeddings:
        """Vectors of texts; each text that was seen before is had from the cache."""
        name, wishes = self._config.model_of(model), self._config.options(options)
        return self._line.send(calls.embeddings(input, name, wishes))

    def models(self) -> list[str]:
        """Names of the models that can be asked."""
        return self._line.send(calls.models())

    # -- the cache without the proxy -----------------------------------------------------------------------------------

    def lookup(self, messages: Messages, *, model: str | None = None, **options: Unpack[ChatOptions]) -> Lookup:
        """A stored answer, if there is one that may be served. Nothing is generated."""
        return self._line.send(calls.lookup(messages, self._config.model_of(model), self._config.options(options)))

    def put(
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
        return self._line.send(calls.put(messages, answer, name, wishes, lookup=lookup, elapsed_s=elapsed_s))

    @overload
    def cached(
        self, messages: Messages, ask: Callable[[], Answer], *, model: str | None = ..., **options: Unpack[ChatOptions]
    ) -> str: ...
    @overload
    def cached(
        self, messages: Messages, ask: Callable[[], T], *, model: str | None = ..., **options: Unpack[ChatOptions]
    ) -> str | T: ...
    def cached(
        self,
        messages: Messages,
        ask: Callable[[], Any],
        *,
        model: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> Any:
        """The text of a stored answer, or of what `ask` answers, which is kept. A gateway that is away is done
        without; what is no answer (None, say) comes back as it is and is not kept."""
        found = None
        with suppress(TwicetoldError):
            found = self.lookup(messages, model=model, **options)
        if found:
            return found.text
        answer = ask()
        with suppress(TwicetoldError, TypeError, ValueError):  # whatever the cache says of it, the caller gets it
            self.put(messages, answer, model=model, lookup=found, **options)
        return calls.text_of(answer)

    def feedback(
        self, answer: Any = None, verdict: Verdict | bool = "good", *, comment: str = "", entry: str | None = None
    ) -> Said:
        """Say what an answer was worth: a response or its id, or a stored `entry`. Two bad verdicts retire an entry."""
        return self._line.send(calls.feedback(answer, verdict, comment, entry))

    # -- the operator's ------------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """What the gateway did since it started."""
        return self._line.send(calls.stats())

    def entries(
        self,
        *,
        text: str | None = None,
        meaning: str | None = None,
        tag: str | None = None,
        model: str | None = None,
        namespace: str | None = None,
        tenant: str | None = None,
        page_size: int = 100,
    ) -> Iterator[Entry]:
        """Stored answers, newest first, read page by page; by `meaning`, nearest first. What is given must hold."""
        wanted = {"tag": tag, "model": model, "namespace": namespace, "tenant": tenant}
        criteria = {"text": text, "meaning": meaning, **wanted}
        page: EntryPage | None = None
        while page is None or page.next is not None:
            page = self._line.send(calls.entries(criteria, page_size, None if page is None else page.next))
            yield from page.entries

    def entry(self, entry_id: str) -> WholeEntry:
        """One stored answer, whole."""
        return self._line.send(calls.entry(entry_id))

    def delete_entry(self, entry_id: str) -> int:
        """Remove one stored answer and its aliases; how many that were."""
        return self._line.send(calls.delete_entry(entry_id))

    def invalidate(
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
        return self._line.send(calls.invalidate({**criteria, "older_than": older_than, "all": all}, dry_run=dry_run))

    def explain(self, messages: Messages, *, model: str | None = None, **options: Unpack[ChatOptions]) -> JSON:
        """Why a request of this client would hit or miss; it is not sent."""
        name, wishes = self._config.model_of(model), self._config.options(options)
        return self._line.send(calls.explain(messages, name, wishes, self._config.api_key or ""))

    def explain_response(self, response: Any) -> JSON:
        """Why a response, or the one of this id, was answered as it was."""
        return self._line.send(calls.explain_response(calls.id_of(response)))

    def warm(
        self,
        questions: str | Iterable[Messages],
        *,
        model: str | None = None,
        refresh: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Warmed:
        """Have questions answered before anybody asks them, one after the other, for callers with this client's key.

        What is stored already is not asked again, unless `refresh` says so.
        """
        done, name, wishes = Warmed(), self._config.model_of(model), self._config.options(options)
        for question in calls.questions_of(questions):
            try:
                call = calls.warm(question, name, wishes, self._config.api_key, refresh=refresh)
                done = done.counted(self._line.send(call))
            except APIStatusError as error:
                done = done.failed(question, error)
        return done

    def warm_prefix(self, messages: Messages, *, model: str | None = None, **options: Unpack[PrefixOptions]) -> JSON:
        """Compute the KV blocks of a prompt's head on a local model, and pin them."""
        name = self._config.model_of(model)
        return self._line.send(calls.warm_prefix(messages, name, self._config.options(options), self._config.api_key))

    def export(self, **criteria: Unpack[ExportCriteria]) -> Pieces[JSON]:
        """Stored answers, line by line: a header, entries, an end."""
        call = calls.export(criteria)
        return Pieces(self._line.open(call), call.decoder())

    def import_(self, lines: Iterable[Line], **options: Unpack[ImportOptions]) -> Imported:
        """Keep the lines of an export, some at a time."""
        done = Imported()
        for first, content in batches(lines):
            done += self._line.send(calls.import_lines(content, first, options))
        return done

    def admin(self, method: str, path: str, body: JSON | None = None, **query: str | int) -> Any:
        """Any other call below /admin/api, as JSON: `client.admin("GET", "/quality")`."""
        return self._line.send(calls.any_admin(method, path, body, query))

    def close(self) -> None:
        """Let go of the connections, unless they are the caller's."""
        self._line.close()
