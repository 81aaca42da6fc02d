"""Time to the first token after a long prefix: from nothing, from RAM, from disk, after a restart, from Redis.

A question is 64 tokens after a prefix of 2,048 (8,192). Every prefix has a salt of its own, so nothing is found but
what the row says. From disk and from Redis each measurement has a twin: the same prefix again with another question, by
then from RAM. transformers' warm figure is a `DynamicCache` that holds the prefix and is cut back after each question;
it is in this process, ours goes over HTTP.
"""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.engine.bare import Bare
from bench.engine.models import TALKING, checkpoint_of
from bench.engine.plain import Transformers
from bench.engine.prompts import Prompts
from bench.engine.serving import Answer, Engine, NotAvailable, Request, serving
from bench.figures import median
from bench.rows import Row, Scale

NEW_TOKENS = 64
LONG_TOKENS = 8192
SEGMENT_TOKENS = 256  # cold tiers keep so many tokens together
SMALL_KV_MB = 56  # holds one prefix of 2,048 tokens and little more: the next one drives it out
QUIET_S = 1.0  # without a write: everything is written


def run(scale: Scale) -> list[Row]:
    """All tiers at 2,048 tokens, RAM at 8,192 too."""
    path = checkpoint_of(TALKING)
    plain, bare = Transformers(path, "bfloat16"), Bare(path, "bfloat16")
    prefix_tokens = scale.of(2048, 512)
    rows = _warm(path, plain, bare, prefix_tokens, scale.of(3, 1), with_cold=True)
    if not scale.quick:
        rows += _warm(path, plain if scale.large else None, bare, LONG_TOKENS, 1, with_cold=False)
    kv_mb = scale.of(SMALL_KV_MB, 18)
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder:
        disk: dict[str, Any] = {"kv_mb": kv_mb, "kv_disk_mb": 2048}
        rows += _cold_tier("disk", path, prefix_tokens, Path(folder), disk)
    if scale.quick:
        return rows
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder:
        try:
            with redis_server() as url:
                rows += _cold_tier(
                    "Redis", path, prefix_tokens, Path(folder), {"kv_mb": kv_mb, "kv_redis": url, "kv_disk_mb": 0}
                )
        except NotAvailable as why:
            rows.append(Row("ttft", f"{prefix_tokens} + {NEW_TOKENS}, from Redis", None, "ms", note=str(why)))
    return rows


def _warm(
    path: Path, plain: Transformers | None, bare: Bare, prefix_tokens: int, rounds: int, *, with_cold: bool
) -> list[Row]:
    """From nothing and from RAM, in turns with transformers and with a bare forward."""
    prompts = Prompts(path)
    cold, warm, plain_cold, plain_warm, bare_ms = [list[float]() for _ in range(5)]
    chats = [_questions(prompts, prefix_tokens, number, 5) for number in range(rounds)]
    kept = plain.keep(chats[0][0].token_ids[:prefix_tokens]) if plain else None
    ready = bare.keep(prefix_tokens)
    with serving(path, dtype="bfloat16") as engine:
        engine.ask(Request(prompts.plain(NEW_TOKENS, "warm up").messages, is_cold=True))
        for number, (first, *others) in enumerate(chats):
            salt = f"prefix {number}"
            cold.append(_found(engine.ask(Request(first.messages, salt=salt)), 0, 0).first_ms)
            if plain and with_cold:
                plain_cold.append(plain.first_seconds(first.token_ids) * 1000)
            for chat in others:
                engine.stats_at_rest()
                found = engine.ask(Request(chat.messages, salt=salt))
                warm.append(_found(found, prefix_tokens - SEGMENT_TOKENS, prefix_tokens).first_ms)
                if plain:
                    plain_warm.append(plain.resume_seconds(kept, chat.token_ids[prefix_tokens:]) * 1000)
                bare_ms.append(bare.seconds(ready, chat.token_ids[prefix_tokens:]) * 1000)
    what = f"{prefix_tokens} + {NEW_TOKENS}"
    note = f"cold / warm {median(cold) / median(warm):.1f}"
    beside_cold = median(plain_cold) if plain_cold else None
    rows = [
        _prefill(prefix_tokens + NEW_TOKENS, median(cold), beside_cold),
        Row("ttft", f"{what}, cold", median(cold), "ms", beside_cold, "transformers, cold" if beside_cold else ""),
        Row("ttft", f"{what}, from RAM", median(warm), "ms", median(bare_ms), bare.name, note),
    ]
    if plain_warm:
        beside = median(plain_warm)
        rows.append(Row("ttft", f"{what}, from RAM", median(warm), "ms", beside, "transformers, kept DynamicCache"))
    return rows


def _prefill(num_tokens: int, ms: float, beside_ms: float | None) -> Row:
    """The same as speed: prompt tokens per second, with all that HTTP, the template and keeping the blocks add."""
    beside = num_tokens * 1000 / beside_ms if beside_ms else None
    what = "transformers, one forward" if beside else ""
    return Row("ttft", f"prefill of {num_tokens} tokens", num_tokens * 1000 / ms, "tok/s", beside, what)


def _cold_tier(tier: str, path: Path, prefix_tokens: int, data_dir: Path, settings: dict[str, Any]) -> list[Row]:
    """Through a tier below RAM, while the engine lives and after a restart; each beside its twin from RAM."""
    prompts = Prompts(path)
    lives = {f"from {tier}": 2, f"from {tier} after a restart": 1}
    chats = [_questions(prompts, prefix_tokens, f"{tier} {number}", 8) for number in range(3)]
    found: list[tuple[str, list[float], list[float]]] = []
    rows = []
    try:
        for life, (what, rounds) in enumerate(lives.items()):
            with serving(path, data_dir, dtype="bfloat16", **settings) as engine:
                engine.ask(Request(prompts.plain(NEW_TOKENS, "warm up").messages, is_cold=True))
                if life == 0:
                    _fill(engine, chats)
                before = _hit_tokens(engine, tier)
                pairs = [_twins(engine, chats, 2 + 4 * life + 2 * turn, prefix_tokens) for turn in range(rounds)]
                came = (_hit_tokens(engine, tier) - before) / (rounds * len(chats))
                if came < prefix_tokens / 2:  # what of a prefix has stayed in RAM is taken from there
                    raise NotAvailable(f"of {prefix_tokens} tokens only {came:.0f} came from {tier}")
            cold = [ask.first_ms for pair in pairs for ask, _ in pair]
            warm = [ask.first_ms for pair in pairs for _, ask in pair]
            found.append((what, cold, warm))
    except NotAvailable as why:
        rows.append(
            Row("ttft", f"{prefix_tokens} + {NEW_TOKENS}, from {tier}", None, "ms", note=f"not available: {why}")
        )
    for what, cold, warm in found:
        rows.append(
            Row(
                "ttft", f"{prefix_tokens} + {NEW_TOKENS}, {what}", median(cold), "ms", median(warm), "its twin from RAM"
            )
        )
    return rows


def _fill(engine: Engine, chats: Sequence[Sequence[Any]]) -> None:
    """Touch every prefix twice, which is when a cold tier takes it."""
    for number, (first, second, *_) in enumerate(chats):
        for chat in (first, second):
            engine.ask(Request(chat.messages, salt=f"prefix {number}"))
        _wait_until_written(engine)


def _wait_until_written(engine: Engine, within_s: float = 20.0) -> None:
    """Cold tiers are written behind the answers' back, in quiet moments."""
    deadline, before = time.monotonic() + within_s, -1
    while (count := _counted(engine, "_writes")) != before and time.monotonic() < deadline:
        before = count
        time.sleep(QUIET_S)


def _hit_tokens(engine: Engine, tier: str) -> int:
    return _counted(engine, f"{tier.lower()}_hit_tokens")


def _counted(engine: Engine, ending: str) -> int:
    return sum(count for name, count in engine.stats()["kv"].items() if name.endswith(ending))


def _twins(engine: Engine, chats: Sequence[Sequence[Any]], at: int, prefix_tokens: int) -> list[tuple[Answer, Answer]]:
    """For every prefix a question whose prefix has left RAM, and one more at once. Raises `NotAvailable`."""
    pairs = []
    for number, asks in enumerate(chats):
        one, other = (engine.ask(Request(chat.messages, salt=f"prefix {number}")) for chat in asks[at : at + 2])
        if one.cached_tokens < prefix_tokens - SEGMENT_TOKENS:
            raise NotAvailable(f"only {one.cached_tokens} of {prefix_tokens} tokens came back")
        pairs.append((one, _found(other, prefix_tokens - SEGMENT_TOKENS, prefix_tokens)))
    return pairs


def _questions(prompts: Prompts, prefix_tokens: int, seed: object, count: int) -> list[Any]:
    system = prompts.prefix(prefix_tokens, f"prefix {seed}")
    return [prompts.ask(system, prefix_tokens + NEW_TOKENS, f"{seed} {number}") for number in range(count)]


def _found(answer: Answer, least: int, most: int) -> Answer:
    assert least <= answer.cached_tokens <= most + NEW_TOKENS // 2, answer
    return answer


@contextmanager
def redis_server() -> Iterator[str]:
    """A Redis of our own on a free port, without files. Raises `NotAvailable` where there is none."""
    binary = shutil.which("redis-server")
    if binary is None:
        raise NotAvailable("not available: there is no redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [binary, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def _wait_for(port: int, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            time.sleep(0.05)
    raise NotAvailable("not available: redis-server did not start")
