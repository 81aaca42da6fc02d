"""`python -m bench.replay`: drive a gateway with conversations and prompt streams, and say what each tier did.

A conversation is sent turn by turn: the answers of the gateway become the history, or the data set's own do with
`--recorded`. With concurrency 1 everything happens in the order of the file; with more, talks run side by side and
the turns of one talk stay in order. The client is httpx in this process: its own time is in the figures.

Answers cut by length are never kept, so a labelled stream wants `--echo-upstream`: a backend that says something
complete at once. The labels judge which stored answer was served, not what it says.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import Progress

from bench.asking import Seen, ask, open_client
from bench.datasets import DataError, Message, Talk, conversations_of, find, read_rows, stream_of
from bench.labels import Accuracy, Judged, judge
from bench.processes import StartFailed, gateway, upstream
from bench.summary import show, summarise

MAX_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Asking:
    """How every request of a replay is sent."""

    model: str
    is_streaming: bool = True
    is_recorded: bool = False  # the data set's answers become the history, where it has any
    max_tokens: int | None = MAX_TOKENS
    extra: tuple[tuple[str, Any], ...] = ()

    def body(self, messages: Sequence[Message], *, is_insert: bool = False) -> dict[str, Any]:
        body = {"model": self.model, "messages": list(messages), "stream": self.is_streaming, **dict(self.extra)}
        if self.max_tokens is not None:
            body.setdefault("max_tokens", self.max_tokens)
        if is_insert:
            body["cache"] = {**body.get("cache", {}), "no-cache": True}
        return body


async def replay(
    client: httpx.AsyncClient, talks: Sequence[Talk], asking: Asking, concurrency: int, progress: Progress
) -> list[list[Seen]]:
    """Send every talk; returns what was seen, per talk, in the order of `talks`."""
    seen: list[list[Seen]] = [[] for _ in talks]
    waiting = iter(enumerate(talks))
    bar = progress.add_task("asking", total=sum(len(talk.turns) for talk in talks))

    async def work() -> None:
        for index, talk in waiting:
            async for one in _converse(client, talk, asking):
                seen[index].append(one)
                progress.advance(bar)

    async with asyncio.TaskGroup() as workers:
        for _ in range(concurrency):
            workers.create_task(work())
    return seen


async def _converse(client: httpx.AsyncClient, talk: Talk, asking: Asking) -> Any:
    history: list[Message] = []
    for turn in talk.turns:
        history += [*turn.before, turn.user]
        one = await ask(client, asking.body(history, is_insert=talk.is_insert))
        yield one
        if asking.is_recorded and turn.recorded is not None:
            history.append(turn.recorded)
        elif one.error is None:
            history.append(one.message)
        else:
            return  # without an answer there is no next turn


def judged(talks: Sequence[Talk], seen: Sequence[Sequence[Seen]]) -> Accuracy | None:
    """What the labels say; None when the talks have none."""
    pairs = [(talk, one) for talk, (one, *_) in zip(talks, seen, strict=True) if one.error is None]
    if not all(talk.class_id for talk in talks):
        return None
    return judge(
        [
            Judged(
                talk.name, talk.class_id or "", one.tier, one.reason, one.entry, one.similarity, talk.is_insert
            )
            for talk, one in pairs
        ]
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one replay; returns the exit status."""
    options = _parser().parse_args(argv)
    try:
        talks = load(options)
        with _target(options) as url:
            return asyncio.run(_run(url, talks, options))
    except (DataError, StartFailed) as error:
        print("\n".join([f"replay: {error}", *getattr(error, "__notes__", ())]), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def load(options: argparse.Namespace) -> list[Talk]:
    """The talks the options name, at most `--limit` of each file. Raises `DataError`."""
    talks: list[Talk] = []
    for names, folder, read in (
        (options.conversations, "conversations", conversations_of),
        (options.stream, "streams", stream_of),
    ):
        for name in names:
            talks += read(read_rows(find(name, folder)))[: options.limit]
    if not talks:
        raise DataError("nothing to send: name --conversations FILE or --stream FILE")
    return talks


@contextmanager
def _target(options: argparse.Namespace) -> Iterator[str]:
    """The gateway to drive: one of our own when told so, with a backend that echoes when told so."""
    if not options.serve and not options.echo_upstream:
        yield options.url.rstrip("/")
        return
    with ExitStack() as stack:
        flags = ["--config", options.config] if options.config else []
        if options.echo_upstream:
            flags += ["--upstream", stack.enter_context(upstream()).url]
        elif options.serve_model:
            flags += ["--model", options.serve_model]
        yield stack.enter_context(gateway(*flags)).url


async def _run(url: str, talks: Sequence[Talk], options: argparse.Namespace) -> int:
    async with open_client(url, options.concurrency) as client:
        model = options.model or await first_model(client)
        extra = tuple(json.loads(options.extra).items())
        asking = Asking(model, options.streaming, options.recorded, options.max_tokens or None, extra)
        inserts = list(takewhile(lambda talk: talk.is_insert, talks))
        with Progress(transient=True, console=Console(stderr=True)) as progress:
            seen = await replay(client, inserts, asking, options.concurrency, progress)
            if inserts:
                await _settled(client)
            seen += await replay(client, talks[len(inserts) :], asking, options.concurrency, progress)
    every = [one for talk in seen for one in talk]
    summary, accuracy = summarise(every), judged(talks, seen)
    title = f"{', '.join([*options.conversations, *options.stream])} through {url}, model {model}"
    show(Console(width=None if sys.stdout.isatty() else 130), title, summary, accuracy)
    if options.out is not None:
        _save(options.out, asking, options.concurrency, summary, accuracy)
    return 0 if summary["answered"] else 1


async def _settled(client: httpx.AsyncClient, within_s: float = 120.0) -> None:
    """Wait until the index has stopped growing: entries get their vectors behind the answers' back."""
    vectors = -1
    for _ in range(int(within_s)):
        before, vectors = vectors, int((await client.get("/admin/api/stats")).raise_for_status().json()["vectors"])
        if vectors == before:
            return
        await asyncio.sleep(1)


async def first_model(client: httpx.AsyncClient) -> str:
    """The first model the gateway lists. Raises `StartFailed` when there is no gateway, or it lists none."""
    try:
        listed = (await client.get("/v1/models")).raise_for_status().json()["data"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise StartFailed(f"no gateway lists its models at {client.base_url}: {error}") from error
    if not listed:
        raise StartFailed(f"{client.base_url} lists no model: name one with --model")
    return str(listed[0]["id"])


def _save(path: Path, asking: Asking, concurrency: int, summary: dict[str, Any], accuracy: Accuracy | None) -> None:
    labels = None if accuracy is None else accuracy.as_json()
    body = {"asking": asdict(asking), "concurrency": concurrency, "summary": summary, "labels": labels}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.replay", description=__doc__.split("\n\n")[0])
    where = parser.add_argument_group("where")
    where.add_argument("--url", default="http://127.0.0.1:8420", help="a running gateway (http://127.0.0.1:8420)")
    where.add_argument("--serve", action="store_true", help="start a gateway of its own, with empty caches")
    where.add_argument("--serve-model", metavar="NAME", help="with --serve: the local model (demo)")
    where.add_argument("--echo-upstream", action="store_true", help="its own gateway over a backend that echoes")
    where.add_argument("--config", metavar="FILE", help="with a gateway of its own: settings")
    what = parser.add_argument_group("what")
    what.add_argument("--conversations", action="append", default=[], metavar="FILE", help="a path or a data name")
    what.add_argument("--stream", action="append", default=[], metavar="FILE", help="a path or a data name")
    what.add_argument("--limit", type=int, metavar="N", help="only the first N talks of every file")
    what.add_argument("--recorded", action="store_true", help="the data set's answers become the history")
    how = parser.add_argument_group("how")
    how.add_argument("--model", metavar="NAME", help="the model to ask for (the first one listed)")
    how.add_argument("--streaming", action=argparse.BooleanOptionalAction, default=True)
    how.add_argument("--concurrency", type=int, default=1, metavar="N")
    how.add_argument("--max-tokens", type=int, default=MAX_TOKENS, metavar="N", help=f"0: no limit ({MAX_TOKENS})")
    how.add_argument("--extra", default="{}", metavar="JSON", help="more fields of every request")
    how.add_argument("--out", type=Path, metavar="FILE", help="also write everything as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
