"""The local engine as a backend: chats in, deltas out.

stream -> params -> template and tokens -> engine process -> events -> text and stop strings -> deltas
"""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeGuard

from backends.base import Health, Model
from backends.chat import COUNT, EMBEDDINGS, ChatRequest, Delta, Fields, Usage
from backends.errors import BackendBusy, BackendError, BackendNotReady, BackendUnavailable, RequestRejected
from backends.local.answer import Answer, hopeless, joined
from backends.local.child import EngineDied
from backends.local.cores import num_cores, share_of_cores
from backends.local.decoder import checkpoint
from backends.local.decoder.checkpoint import Checkpoint
from backends.local.params import Generation, read_params
from backends.local.prefixes import SharedPrefixes
from backends.local.process import RETRY_AFTER_S, EngineProcess, Patience
from backends.local.settings import LocalSettings
from backends.local.speech.ahead import after_answer, to_warm
from backends.local.speech.form import grammar_of, manner_of
from backends.local.speech.parts import PLAIN, Manner
from backends.local.speech.raw import refuse_what_it_cannot
from backends.local.speech.tokenizer import ChatTokenizer
from backends.local.wire import Erase, Event, Load, Refused, Submit, Token, Tokens, Warm, Warmed
from backends.plain import plain

MOST_CHORES = 8  # looks ahead at a time
REST_WITHIN_S = 5.0  # which the engine has to come to for one
REST_LOOK_S = 0.05
RESTARTED_EVERY_S = 5.0  # between two looks
PROMPT_TOKENS = 16  # generated after a raw prompt whose caller says no limit, as OpenAI does
CHARACTERS_PER_DRAFT = 8  # read at most: of a text with longer tokens the end is not drafted

log = logging.getLogger(__name__)


class LocalBackend:
    """Serves one checkpoint from an engine process of its own."""

    def __init__(
        self, source: Path | str | Checkpoint, *, served_name: str, settings: LocalSettings, name: str = "local"
    ) -> None:
        """`source` is a directory, ORG/NAME on the Hugging Face hub, or a checkpoint that has been read."""
        self.name = name
        self._source = source
        self._served_name = served_name
        self._settings = settings
        self._requests = itertools.count(1)
        self._loaded: _Loaded | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self._num_forgotten = 0  # times that something was: who began before looks no more ahead

    async def open(self) -> None:
        """Find the checkpoint (a download shows its progress), read all but its weights, start the engine process.

        Raises `CheckpointError`.
        """
        self._loaded = await asyncio.to_thread(_load, self._source, self._settings, self._served_name)
        self._loaded.engine.open()
        if self._settings.warm_prompts or self._settings.public_prompts:
            self._begin_chore(self._keep_warm())

    async def drain(self, within_s: float) -> bool:
        """Take no new request, and wait for those in flight; returns whether all have ended."""
        return self._loaded is None or await self._loaded.engine.drain(within_s)

    async def shared_prefixes(self, most_nodes: int) -> dict[str, Any]:
        """Which kept prefixes are shared most. Raises `BackendNotReady` and `BackendUnavailable`."""
        return await self._opened.prefixes.look(next(self._requests), most_nodes)

    def clear_kv(self) -> None:
        """Forget every kept prefix. Raises `BackendNotReady`."""
        self._num_forgotten += 1
        self._opened.engine.clear()
        self._opened.prefixes.forget()

    async def erase_kv(self, owner: str) -> Mapping[str, Any]:
        """Forget what is kept for one owner; how much of it there was, and who is not done yet. Raises
        `BackendNotReady` and `BackendUnavailable`."""
        opened = self._opened
        self._num_forgotten += 1
        opened.prefixes.forget()
        try:
            erased = await opened.engine.erase(Erase(next(self._requests), owner))
        except EngineDied as death:
            raise BackendUnavailable(f"the engine process {death.reason} meanwhile") from death
        return {"blocks": erased.blocks, "segments": erased.segments, "pending": erased.pending}

    async def close(self) -> None:
        """End the engine process."""
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        if self._loaded is not None:
            await self._loaded.engine.close()
            self._loaded = None

    @property
    def stamp(self) -> object | None:
        """Another one when another checkpoint was opened; None before `open`."""
        return self._loaded

    async def models(self) -> Sequence[Model]:
        """The one model; none before `open`."""
        if self._loaded is None:
            return ()
        loaded = self._loaded
        defaults = dict(loaded.checkpoint.sampling_defaults)
        return (Model(self._served_name, loaded.revision, defaults, loaded.context_tokens, loaded.created),)

    async def health(self) -> Health:
        """Whether the engine process is loaded, and if not why."""
        if self._loaded is None:
            return Health(False, "not opened")
        engine = self._loaded.engine
        if silent_s := engine.silent_s:
            return Health(False, f"the engine process is silent for {silent_s:.0f} s")
        return Health(engine.is_ready, engine.detail)

    @property
    def pid(self) -> int | None:
        """The engine process, while there is one."""
        return self._opened.engine.pid

    def stats(self) -> dict[str, Any]:
        """The engine's last word on its queues, counters and KV blocks; never waits. Empty before `open`."""
        if self._loaded is None:
            return {}
        engine = self._loaded.engine
        counters = {"restarts": engine.restarts, "hangs": engine.hangs, "retries": engine.retries}
        return {**asdict(engine.stats), **counters, "is_ready": engine.is_ready}

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Generate. The first delta comes with admission and says how much of the prompt was cached."""
        tells_stop = request.dialect == "anthropic"
        loaded, request = self._opened, plain(request)
        if request.purpose == EMBEDDINGS:
            raise RequestRejected(
                "This model answers; it has no embeddings.", param="model", code="unsupported_by_model"
            )
        wanted = read_params(request.params, loaded.checkpoint.sampling_defaults, loaded.checkpoint.config.vocab_size)
        self._refuse_the_hopeless(request)
        num_forgotten = self._num_forgotten
        prompt = await asyncio.to_thread(self._encode, request, wanted)
        if request.purpose == COUNT:
            yield Delta(usage=Usage(prompt_tokens=len(prompt)))
            return
        grammar = await asyncio.to_thread(grammar_of, wanted, loaded.tokenizer)
        drafts = await asyncio.to_thread(self._drafts, request.draft)
        submit = replace(self._submit(request, wanted, prompt), grammar=grammar, drafts=drafts)
        answer = Answer(len(prompt), wanted, loaded.tokenizer, self._manner(request, wanted, prompt))
        said: list[Delta] = []
        new: list[Delta] = []
        try:
            async with aclosing(loaded.engine.events(submit)) as events:
                async for event in events:
                    new += answer.take(event)
                    if not loaded.engine.has_more(submit.request) or answer.is_finished:
                        for delta in joined(new):
                            said.append(delta)
                            yield answer.telling_stop(delta) if tells_stop else delta
                        new.clear()
                    if _goes_on(event) and answer.is_stopped(event.index):
                        loaded.engine.abort(submit.request, event.index)
                    if answer.is_finished:
                        break
        except (EngineDied, BackendError) as error:
            for delta in joined(new):  # what came before it
                yield delta
            if isinstance(error, EngineDied):
                raise _died(error) from error
            raise
        if request.prompt is None and self._may_look_ahead(submit):
            self._begin_chore(self._look_ahead(request, wanted, submit, said, num_forgotten))
        yield Delta(usage=answer.usage)

    async def warm(
        self,
        messages: Sequence[Fields],
        tools: Any,
        salt: str,
        owner: str,
        *,
        pin: bool = True,
        is_public: bool = False,
    ) -> dict[str, int]:
        """Compute a prefix when nothing else is to do, and keep it; how many of its tokens are kept and pinned.

        What is public is found by requests under every salt: it must be the operator's word, never a caller's.
        """
        loaded = self._opened
        prompt = await asyncio.to_thread(to_warm, loaded.tokenizer, tuple(messages), tools or ())
        self._refuse_unknown(prompt)
        warm = Warm(next(self._requests), prompt, salt, owner, pin, is_awaited=True, is_public=is_public)
        try:
            event = await loaded.engine.warm(warm)
        except EngineDied as death:
            raise BackendUnavailable(f"the engine process {death.reason} meanwhile") from death
        if isinstance(event, Refused):
            raise hopeless(event) if event.is_hopeless else BackendBusy(event.reason, retry_after_s=1.0)
        assert isinstance(event, Warmed), event
        return {"tokens": event.num_tokens, "pinned": event.pinned}

    def _encode(self, request: ChatRequest, wanted: Generation) -> list[int]:
        """The prompt as tokens: of a conversation by the model's template, else as it stands."""
        prompt, tokenizer = request.prompt, self._opened.tokenizer
        if request.needs:  # as a fallback for a server that can
            raise RequestRejected(f"{request.needs} needs a server that has the Responses API", param=request.needs)
        if prompt is None:
            return tokenizer.encode_chat(request.messages, wanted.tools)
        refuse_what_it_cannot(request.params, wanted)
        return tokenizer.encode_prompt(prompt) if isinstance(prompt, str) else prompt

    def _manner(self, request: ChatRequest, wanted: Generation, prompt: list[int]) -> Manner:
        return manner_of(wanted, self._opened.tokenizer, prompt) if request.prompt is None else PLAIN

    def _begin_chore(self, work: Coroutine[Any, Any, None]) -> None:
        chore = asyncio.create_task(work)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    def _may_look_ahead(self, submit: Submit) -> bool:
        """Whether the next turn is worth a thought: one answer, kept prefixes, and nobody in the queue."""
        is_kept = self._settings.idle_work and submit.use_kv and submit.publish_kv and submit.n == 1
        return is_kept and len(self._chores) < MOST_CHORES and not self._opened.engine.stats.waiting

    async def _look_ahead(
        self, request: ChatRequest, wanted: Generation, submit: Submit, said: Sequence[Delta], num_forgotten: int
    ) -> None:
        """Have the history computed as it will be sent next turn, when the engine has nothing else to do.

        Before it rests the chat is not even read: that takes the interpreter from the event loop, perhaps in vain.
        """
        loaded = self._opened
        if not await _rests(loaded.engine):
            return
        prompt = await asyncio.to_thread(after_answer, loaded.tokenizer, request.messages, wanted.tools, said)
        if num_forgotten == self._num_forgotten and 0 < len(prompt) <= loaded.context_tokens:
            loaded.engine.send(Warm(next(self._requests), prompt, submit.salt, submit.owner))

    async def _keep_warm(self) -> None:
        """Warm what the operator wants warm, again whenever the engine process is a new one."""
        while True:
            restarts = self._opened.engine.restarts
            await self._warm_all()
            while self._opened.engine.restarts == restarts:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(RESTARTED_EVERY_S)

    async def _warm_all(self) -> None:
        """Have the operator's system prompts computed and pinned, as soon as the engine is there."""
        own, salt, owner = self._settings, self._settings.warm_salt, self._settings.warm_owner
        wanted = [(text, True) for text in own.public_prompts] + [(text, False) for text in own.warm_prompts]
        for text, is_public in wanted:
            while True:
                try:
                    messages = ({"role": "system", "content": text},)
                    kept = await self.warm(messages, (), salt, owner, is_public=is_public)
                    log.info("a system prompt is warm: %d tokens, %d pinned", kept["tokens"], kept["pinned"])
                except BackendNotReady:
                    await asyncio.sleep(1)  # it has waited for the engine already, and goes on waiting
                    continue
                except BackendError as error:
                    log.warning("a system prompt cannot be warmed: %s", error)
                break

    @property
    def _opened(self) -> "_Loaded":
        if self._loaded is None:
            raise BackendUnavailable("the local engine is not opened", retryable=False)
        return self._loaded

    def _refuse_the_hopeless(self, request: ChatRequest) -> None:
        """Refuse what is too long whatever its tokens are: reading megabytes takes seconds, and others wait for it."""
        most = self._opened.context_tokens * self._opened.tokenizer.longest_piece
        written = sum(len(content) for m in request.messages if isinstance(content := m.get("content"), str))
        if written > most:
            raise _too_long(f"{written} characters", self._opened.context_tokens)

    def _usual_tokens(self, request: ChatRequest) -> int | None:
        """How long an answer may be that nobody limits: one to a raw prompt is as short as OpenAI's."""
        return self._settings.max_new_tokens if request.prompt is None else PROMPT_TOKENS

    def _refuse_unknown(self, prompt: Sequence[int]) -> None:
        """Raises `RequestRejected`: some tokenizers know tokens the model was never given."""
        last, vocab_size = max(prompt, default=0), self._opened.checkpoint.config.vocab_size
        if last >= vocab_size:
            raise RequestRejected(f"token {last} is none of the model's {vocab_size}", param="messages")

    def _drafts(self, text: str) -> list[int]:
        """What the answer may repeat as tokens, as far as an answer can go; none that the model does not know."""
        loaded = self._opened
        if not text or not self._settings.drafts or self._settings.exact:
            return []
        most, vocab_size = loaded.context_tokens, loaded.checkpoint.config.vocab_size
        token_ids = loaded.tokenizer.encode(text[: most * CHARACTERS_PER_DRAFT])[:most]
        return [token_id for token_id in token_ids if token_id < vocab_size]

    def _submit(self, request: ChatRequest, wanted: Generation, prompt: list[int]) -> Submit:
        """The request in the engine's words. Raises `RequestRejected` when the prompt leaves no room to answer."""
        context = self._opened.context_tokens
        if len(prompt) >= context:
            raise _too_long(f"{len(prompt)} tokens", context)
        self._refuse_unknown(prompt)
        room = context - len(prompt)
        return Submit(
            request=next(self._requests),
            prompt=prompt,
            max_tokens=min(wanted.max_tokens or self._usual_tokens(request) or room, room),
            sampling=wanted.sampling,
            n=wanted.n,
            ignore_eos=wanted.ignore_eos,
            salt=request.kv_salt,
            use_kv=request.use_kv,
            publish_kv=request.publish_kv,
            owner=request.owner,
            priority=wanted.priority,
            timeout_s=wanted.timeout_s,
        )


async def _rests(engine: EngineProcess) -> bool:
    """Whether an engine has nothing to do, or soon has not."""
    until_s = time.monotonic() + REST_WITHIN_S
    while engine.stats.running or engine.stats.waiting:
        if time.monotonic() > until_s:
            return False
        await asyncio.sleep(REST_LOOK_S)
    return True


def _goes_on(event: Event) -> TypeGuard[Token | Tokens]:
    """Whether more tokens follow as far as the engine knows."""
    return isinstance(event, Tokens) or (isinstance(event, Token) and event.finish_reason is None)


def _load(source: Path | str | Checkpoint, settings: LocalSettings, served_name: str) -> "_Loaded":
    """Blocks while it downloads and hashes. Raises `CheckpointError`."""
    found = source if isinstance(source, Checkpoint) else checkpoint.read(checkpoint.find(source))
    return _Loaded(found, settings, served_name)


class _Loaded:
    """A checkpoint read from disk, its tokenizer, and the process that serves it."""

    def __init__(self, found: Checkpoint, settings: LocalSettings, served_name: str) -> None:
        path = found.path
        abilities = checkpoint.abilities(settings.device)
        dtype = checkpoint.choose_dtype(settings.dtype, found.num_parameters, abilities)
        self.checkpoint = found
        self.tokenizer = ChatTokenizer(path)
        self.context_tokens = min(settings.context_tokens or found.config.context_tokens, found.config.context_tokens)
        self.revision = "-".join(
            filter(None, (found.fingerprint, dtype, settings.weights))
        )  # other precision, other words
        self.created = int((path / "config.json").stat().st_mtime)
        load = Load(
            checkpoint=str(path),
            fingerprint=found.fingerprint,
            dtype=dtype,
            threads=settings.threads or share_of_cores(num_cores(), settings.num_engines),
            context_tokens=self.context_tokens,
            eos_token_ids=sorted({*found.eos_token_ids, *self.tokenizer.eos_token_ids}),
            kv_budget_bytes=settings.kv_budget_bytes,
            slab_budget_bytes=settings.slab_budget_bytes,
            max_running=settings.max_running,
            max_waiting=settings.max_waiting,
            prefill_chunk=settings.prefill_chunk,
            exact=settings.exact,
            drafts=settings.drafts,
            idle_work=settings.idle_work,
            secret=settings.secret.hex(),
            seal_keys=[key.hex() for key in settings.seal_keys],
            memory_bytes=settings.memory_bytes,
            kv_dir=str(settings.kv_dir.absolute())
            if settings.kv_dir is not None
            else "",  # the process lives elsewhere
            kv_disk_bytes=settings.kv_disk_bytes,
            kv_redis=settings.kv_redis,
            kv_codec=settings.kv_codec,
            kv_policy=settings.kv_policy,
            weights=settings.weights,
            device=settings.device,
            model=served_name,
        )
        self.engine = EngineProcess(load, Patience(settings.ready_wait_s, settings.load_s, settings.hang_s))
        self.prefixes = SharedPrefixes(self.engine, self.tokenizer)


def _died(death: EngineDied) -> BackendError:
    """What a caller is told. It is final: a request that has ended two processes may be what ends them."""
    if death.has_begun:
        why = f"the engine process {death.reason} in the middle of the answer"
        return BackendError(why, retryable=False, retry_after_s=RETRY_AFTER_S)
    return BackendUnavailable(f"the engine process {death.reason} twice while it worked on this", retryable=False)


def _too_long(size: str, context_tokens: int) -> RequestRejected:
    return RequestRejected(
        f"the prompt has {size}; this model's context length is {context_tokens} tokens",
        param="messages",
        code="context_length_exceeded",
    )
