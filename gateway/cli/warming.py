"""`twicetold warm`: answers made and kept, and system prompts computed and pinned, before anybody asks.

What is there already is not made again, so after a break the same command simply goes on.
"""

import argparse
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import orjson

from gateway.cli.client import Admin, Failed, add_json, add_server, admin, tenant_name
from gateway.cli.files import Damaged, lines_of, reading
from gateway.cli.progress import Progress
from gateway.cli.screen import dump, note, say
from gateway.settings import SettingsError, read_key

NOTES = """A file has one question a line, as text or as JSON:

    What is a block table?
    {"question": "What is a block table?", "system": "You are terse.", "model": "demo"}
    {"messages": [{"role": "user", "content": "..."}], "temperature": 0}
    {"system": "You are the help desk of a bicycle shop."}

The last one has no question: its prefix is computed and pinned in the KV tier of a local model. What is stored
already is not asked again (unless `--refresh`), so the same command goes on after a break. Only the very same
question counts as stored; one in other words gets an answer of its own. Warming is not in the figures of
`stats`.
"""
SHOWN = 20
GIVE_UP_AFTER = 20  # failures on end without a success: the backend is not there
AHEAD = 4  # questions handed out for each that is being answered
WORDS = {"stored": "answered and kept", "present": "there already", "not_kept": "not kept", "pinned": "prefixes pinned"}


@dataclass(frozen=True, slots=True)
class Task:
    """One line: what is asked of which route. `trouble` says why it cannot be asked."""

    where: str
    route: str = "warm"
    body: dict[str, Any] | None = None
    trouble: str = ""


def add_warm(verbs: Any) -> None:
    verb = verbs.add_parser(
        "warm",
        help="have questions answered and system prompts computed before anybody asks",
        epilog=NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument(
        "file", nargs="?", metavar="FILE", help="one question a line, as text or JSON, packed or not; - reads stdin"
    )
    verb.add_argument("--model", metavar="NAME", help="the model of lines that name none")
    verb.add_argument("--system", metavar="TEXT", help="the system prompt of questions without one; @FILE reads it")
    verb.add_argument(
        "--prefix", metavar="FILE", action="append", default=[], help="a system prompt to compute and pin; repeatable"
    )
    verb.add_argument("--no-pin", action="store_true", help="compute prefixes, but let them go like any others")
    verb.add_argument("--refresh", action="store_true", help="answer anew what is there already")
    verb.add_argument("--concurrency", type=_some, default=4, metavar="N", help="questions at once (4)")
    verb.add_argument("--key-env", metavar="NAME", help="variable that holds the key the callers will send")
    verb.add_argument("--tenant", type=tenant_name, help="instead of their key: their name, as the admin API shows it")
    add_json(verb)
    add_server(verb)
    verb.set_defaults(run=_warm)


def _some(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 256:
        raise argparse.ArgumentTypeError(f"{text} must be a number from 1 to 256")
    return number


def _warm(args: argparse.Namespace) -> int:
    if args.file is None and not args.prefix:
        raise SettingsError("name a file of questions, or a system prompt with --prefix")
    caller = {"api_key": read_key("--key-env", args.key_env or ""), "tenant": args.tenant or ""}
    system = _text(args.system[1:]) if (args.system or "").startswith("@") else args.system
    prefixes = [_prefix(name, args) for name in args.prefix]
    total = None if args.file in (None, "-") else _num_lines(args.file)
    tally = Tally(args)
    with (
        admin(args, timeout_s=900.0) as gateway,
        Progress("warmed", None if total is None else total + len(prefixes)) as progress,
    ):
        tasks = iter(prefixes) if args.file is None else _chained(prefixes, args, system)
        _run(gateway, tasks, caller, tally, progress, args.concurrency)
    return tally.told()


class Tally:
    """What became of the lines."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self.states: Counter[str] = Counter()
        self.errors: list[dict[str, str]] = []
        self.tokens = 0
        self.in_a_row = 0  # failures
        self.num_asked = 0

    @property
    def num_done(self) -> int:
        return self.states.total() + len(self.errors)

    def add(self, task: Task, answer: dict[str, Any]) -> None:
        self.in_a_row = 0
        self.num_asked += 1
        state = answer.get("state") or "pinned"
        self.states[state] += 1
        if state == "stored":
            self.tokens += sum(answer["usage"].values())
        if state == "not_kept":
            self._tell(task.where, f"answered, but not kept: {answer['reason']}")

    def fail(self, task: Task, message: str, *, is_backend: bool) -> None:
        self.in_a_row += is_backend
        self.num_asked += is_backend
        self.errors.append({"where": task.where, "message": message})
        self._tell(task.where, message)

    def _tell(self, where: str, message: str) -> None:
        if len(self.errors) + self.states["not_kept"] <= SHOWN and not self._args.json:
            note(f"{where}: {message}")

    def told(self) -> int:
        """Print it; the exit status."""
        has_failed = bool(self.errors or self.states["not_kept"])
        status = 0 if not has_failed else 3 if self.num_asked else 2  # 2: no line could be asked at all
        if self._args.json:
            counts = {state: self.states[state] for state in WORDS}
            failed = {"failed": len(self.errors), "errors": self.errors}
            dump({"object": "cache.warm", **counts, "tokens": self.tokens, **failed})
            return status
        parts = [f"{number} {WORDS[state]}" for state, number in self.states.items()]
        parts += [f"{len(self.errors)} failed"] if self.errors else []
        say(", ".join(parts) or "nothing to do")
        return status


def _run(
    gateway: Admin, tasks: Iterator[Task], caller: dict[str, str], tally: Tally, progress: Progress, num: int
) -> None:
    """So many at once, and not many more handed out; the first that cannot go on ends all."""
    waiting: Queue[tuple[Task, Future[dict[str, Any]]] | None] = Queue()
    stop = threading.Event()

    def work() -> None:
        while (one := waiting.get()) is not None and not stop.is_set():
            task, future = one
            try:
                future.set_result(gateway.insist("POST", task.route, json={**(task.body or {}), **caller}))
            except BaseException as error:  # whoever waits gets it
                future.set_exception(error)

    # No pool of the standard library: who interrupts would wait for the answers that are being made.
    for number in range(num):
        threading.Thread(target=work, name=f"warm {number}", daemon=True).start()
    out: dict[Future[dict[str, Any]], Task] = {}
    try:
        for task in tasks:
            if task.trouble:
                tally.fail(task, task.trouble, is_backend=False)
                continue
            future = Future[dict[str, Any]]()
            waiting.put((task, future))
            out[future] = task
            if len(out) >= AHEAD * num:
                _settle(out, tally, progress)
        while out:
            _settle(out, tally, progress)
    finally:
        stop.set()
        for _ in range(num):
            waiting.put(None)


def _settle(out: dict["Future[dict[str, Any]]", Task], tally: Tally, progress: Progress) -> None:
    """Take account of what is done; wait for something if nothing is."""
    done, _ = wait(out, return_when=FIRST_COMPLETED)
    for future in done:
        task = out.pop(future)
        try:
            answer = future.result()
        except Failed as failed:
            tally.fail(task, str(failed), is_backend=True)
            if tally.in_a_row >= GIVE_UP_AFTER:
                raise Failed(f"{tally.in_a_row} failures on end, the last: {failed}") from failed
        else:
            tally.add(task, answer)
        progress.at(tally.num_done)


def _chained(prefixes: list[Task], args: argparse.Namespace, system: str | None) -> Iterator[Task]:
    yield from prefixes
    with reading(args.file) as file:
        try:
            for number, raw in enumerate(lines_of(file), start=1):
                if raw.strip():
                    yield _task(f"{args.file}, line {number}", raw.strip(), args, system)
        except Damaged as error:
            yield Task(args.file, trouble=f"cannot be read further: {error}")


def _task(where: str, raw: bytes, args: argparse.Namespace, system: str | None) -> Task:
    """What a line asks for."""
    try:
        line = orjson.loads(raw) if raw[:1] in b'{"' else raw.decode()
    except (orjson.JSONDecodeError, UnicodeDecodeError) as error:
        return Task(where, trouble=f"neither JSON nor text: {error}")
    said: dict[str, Any] = dict(line) if isinstance(line, dict) else {"question": line}
    question, own = said.pop("question", None), said.pop("system", None)
    said.setdefault("model", args.model)
    for name, value in (("question", question), ("system", own)):
        if value is not None and not isinstance(value, str):
            return Task(where, trouble=f"{name} must be a text")
    if not said["model"]:
        return Task(where, trouble="model is missing: say it here or with --model")
    if "messages" in said and question is None and own is None:
        return Task(where, body={"request": said, "refresh": args.refresh})
    if question is None and own is None:
        return Task(where, trouble="question is missing, or messages, or system")
    if "messages" in said:
        return Task(where, trouble="give either messages, or question and system")
    own = own if own is not None else system
    head = [] if own is None else [{"role": "system", "content": own}]
    if question is None:
        return _of_prefix(where, {**said, "messages": head}, args)
    messages = [*head, {"role": "user", "content": question}]
    return Task(where, body={"request": {**said, "messages": messages}, "refresh": args.refresh})


def _prefix(name: str, args: argparse.Namespace) -> Task:
    if not args.model:
        raise SettingsError("--prefix needs --model")
    messages = [{"role": "system", "content": _text(name)}]
    return _of_prefix(name, {"model": args.model, "messages": messages}, args)


def _of_prefix(where: str, body: dict[str, Any], args: argparse.Namespace) -> Task:
    return Task(where, "kv/warm", {**body, "pin": not args.no_pin})


def _text(name: str) -> str:
    try:
        return Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name} cannot be read: {error}") from error


def _num_lines(source: str) -> int:
    with reading(source) as file:
        try:
            return sum(1 for line in lines_of(file) if line.strip())
        except Damaged:
            return 0
