"""Two gateways on one Redis: what one makes the other serves, what one removes neither serves, and Redis may go."""

import json
import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.cli import main
from tests.e2e.server import Gateway, running_gateway
from tests.kvtier.tiers.servers import RedisServer, needs_redis, serving
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

pytestmark = needs_redis

SOON_S = 0.8  # generous: it takes some ten milliseconds (bench/feed.py)
RETURN_S = 10.0  # of a Redis that was away


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from serving(tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="module")
def pair(
    server: RedisServer, upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, Gateway]]:
    folders = [tmp_path_factory.mktemp(name) / "data" for name in ("a", "b")]
    with ExitStack() as stack, ThreadPoolExecutor(2) as together:

        def start(folder: Path) -> Gateway:
            folder.mkdir()
            (folder / "secret").write_bytes(b"one secret for both gateways....")
            flags = ("--upstream", upstream.base_url, "--redis", server.url)
            gateway = stack.enter_context(running_gateway(folder, *flags, cache__shadow_rate="0"))
            gateway.wait("upstream", "redis", "feed", "semantic")
            return gateway

        a, b = together.map(start, folders)
        # who has just come does not know yet who else is there
        until(lambda: all(invalidate(one, id="e_none")["others"] == 1 for one in (a, b)), within_s=20)
        yield a, b


def ask(gateway: Gateway, text: str, *, only_if_cached: bool = False, **cache: Any) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "cache": cache}
    return gateway.post(body, **({"cache-control": "only-if-cached"} if only_if_cached else {}))


def tier(gateway: Gateway, text: str) -> str:
    """What would be served without generating; "none" when nothing is."""
    found: str = ask(gateway, text, only_if_cached=True).headers.get("x-twicetold-tier", "none")
    return found


def until(is_so: Callable[[], bool], within_s: float = SOON_S) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)


def invalidate(gateway: Gateway, **body: Any) -> dict[str, int]:
    """How many other gateways there are, and how many have heard of it."""
    address = f"{gateway.url}/admin/api/invalidate"
    done = httpx.post(address, json={**body, "dry_run": False}, timeout=30, **LOOPBACK)
    assert done.status_code == 200, done.text
    return dict(done.json()["replicas"])


def metric(gateway: Gateway, name: str) -> float:
    lines = gateway.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@contextmanager
def stopped(gateway: Gateway) -> Iterator[None]:
    """While its process does nothing at all."""
    os.kill(gateway.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(gateway.process.pid, signal.SIGCONT)


def test_a_key_made_at_one_is_known_to_the_other_and_ends_at_both(
    pair: tuple[Gateway, Gateway], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = pair
    assert main(["keys", "create", "app", "--url", a.url, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)

    def status(gateway: Gateway) -> int:
        body = {"model": "m", "messages": [{"role": "user", "content": "Who has a key?"}]}
        return gateway.post(body, authorization=f"Bearer {made['key']}").status_code

    assert status(a) == 200
    until(lambda: status(b) == 200, within_s=10)
    assert main(["keys", "revoke", made["id"], "--url", b.url]) == 0
    assert status(b) == 401
    until(lambda: status(a) == 401, within_s=10)


def test_what_is_imported_at_one_the_other_serves(pair: tuple[Gateway, Gateway], tmp_path: Path) -> None:
    a, b = pair
    file = str(tmp_path / "answers.jsonl.gz")
    ask(a, "How deep is the Mariana Trench?", tags=["moved"])
    until(lambda: tier(b, "How deep is the Mariana Trench?") == "exact")
    assert main(["export", file, "--tag", "moved", "--url", b.url]) == 0
    invalidate(a, tag="moved")
    assert tier(b, "How deep is the Mariana Trench?") == "none"

    assert main(["import", file, "--url", a.url]) == 0
    until(lambda: tier(b, "How deep is the Mariana Trench?") == "exact")
    until(lambda: tier(b, "how deep is the mariana trench") == "semantic", within_s=10)


def test_what_one_made_the_other_serves_exactly_and_in_other_words(
    pair: tuple[Gateway, Gateway], upstream: RunningUpstream
) -> None:
    a, b = pair
    answer = ask(a, "How deep is Lake Baikal?").json()["choices"][0]["message"]["content"]
    until(lambda: tier(b, "How deep is Lake Baikal?") == "exact")
    until(lambda: tier(b, "How deep is the Lake Baikal, please?") == "semantic")  # by its bare form
    until(lambda: tier(b, "What is the depth of Lake Baikal?") == "semantic")  # by its vector

    served = ask(b, "What is the depth of Lake Baikal?")
    assert served.json()["choices"][0]["message"]["content"] == answer
    assert upstream.counters()["requests"] == 1


def test_what_both_are_asked_at_once_is_generated_once(
    pair: tuple[Gateway, Gateway], upstream: RunningUpstream
) -> None:
    upstream.control(next=["slow:0.2"])  # the answer outlasts the coming of all, however busy the machine is
    before, question = upstream.counters()["requests"], f"How tall is tower {uuid.uuid4()}?"
    with ThreadPoolExecutor(10) as crowd:
        asked = [crowd.submit(ask, gateway, question) for gateway in pair for _ in range(5)]
        answers = [one.result() for one in asked]

    assert upstream.counters()["requests"] == before + 1
    assert len({answer.json()["choices"][0]["message"]["content"] for answer in answers}) == 1
    assert sum(answer.headers["x-twicetold-tier"] == "full" for answer in answers) == 1


def test_a_response_of_one_is_explained_and_judged_by_the_other(pair: tuple[Gateway, Gateway]) -> None:
    a, b = pair
    made = ask(a, "How long is the Nile?")
    told = b.get(f"/admin/api/explain/{made.json()['id']}").json()
    body = {"id": made.json()["id"], "verdict": "bad"}
    said = [httpx.post(f"{one.url}/v1/cache/feedback", json=body, timeout=30, **LOOPBACK) for one in (b, a)]

    assert told["entry"] == made.headers["x-twicetold-entry"]
    assert [(one.json()["state"], one.json()["bad"]) for one in said] == [("kept", 1), ("kept", 1)]


def by_id(gateway: Gateway, made: httpx.Response) -> None:
    assert invalidate(gateway, id=made.headers["x-twicetold-entry"]) == {"others": 1, "heard": 1}


def by_tag(gateway: Gateway, _: httpx.Response) -> None:
    invalidate(gateway, tag="red")


def everything(gateway: Gateway, _: httpx.Response) -> None:
    invalidate(gateway, all=True)


def by_users(gateway: Gateway, made: httpx.Response) -> None:
    """Two bad words about two responses."""
    again = ask(gateway, made.request.extensions["text"])
    for response in (made, again):
        body = {"id": response.json()["id"], "verdict": "bad"}
        said = httpx.post(f"{gateway.url}/v1/cache/feedback", json=body, timeout=30, **LOOPBACK)
        assert said.status_code == 200, said.text


@pytest.mark.parametrize("remove", [by_id, by_tag, everything, by_users], ids=lambda remove: remove.__name__)
def test_what_is_removed_on_one_is_served_by_neither(
    pair: tuple[Gateway, Gateway], remove: Callable[[Gateway, httpx.Response], None]
) -> None:
    thing = {"by_id": "a lamp", "by_tag": "a radio", "everything": "a stove", "by_users": "a clock"}[remove.__name__]
    question, reworded = f"How do I repair {thing} at home?", f"How can I repair {thing} at home?"
    a, b = pair
    made = ask(a, question, tags=["red"])
    made.request.extensions["text"] = question
    until(lambda: (tier(b, question), tier(b, reworded)) == ("exact", "semantic"))  # B has it in its memory now

    remove(a, made)
    for gateway in pair:
        assert (tier(gateway, question), tier(gateway, reworded)) == ("none", "none")


def has_recovered(gateway: Gateway) -> bool:
    """Whether it noticed that Redis forgot everything, and wrote what waited."""
    return metric(gateway, "twicetold_feed_lost_total") > 0 and metric(gateway, "twicetold_shared_queue") == 0


def test_a_redis_that_dies_and_returns_under_load_is_no_error_to_anybody(
    pair: tuple[Gateway, Gateway], server: RedisServer
) -> None:
    a, b = pair
    seen: Counter[int] = Counter()
    is_over = threading.Event()

    def load(gateway: Gateway, name: str) -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            seen[ask(gateway, f"Under load {name} {number // 3}").status_code] += 1

    failures = metric(a, "twicetold_cache_failures_total") + metric(b, "twicetold_cache_failures_total")
    threads = [threading.Thread(target=load, args=(gateway, name)) for gateway, name in ((a, "a"), (b, "b"))]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    server.kill()
    time.sleep(0.7)
    before = seen[200]
    until(lambda: seen[200] > before + 5, within_s=5.0)
    server.start()
    try:
        until(lambda: ask(a, "Is it back?").status_code == 200 and tier(b, "Is it back?") == "exact", RETURN_S)
        until(
            lambda: tier(a, "How can I sell a boat?") == "none" and ask(b, "How do I sell a boat?").status_code == 200
        )
        until(lambda: tier(a, "How can I sell a boat?") == "semantic", RETURN_S)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()

    assert set(seen) == {200}
    assert metric(a, "twicetold_cache_failures_total") + metric(b, "twicetold_cache_failures_total") > failures
    for gateway in pair:
        until(partial(has_recovered, gateway), RETURN_S)
        gateway.wait("feed")
        # the queue had room for all that was made meanwhile
        assert metric(gateway, 'twicetold_shared_losses_total{reason="dropped"}') == 0


def test_who_did_nothing_for_a_while_catches_up_from_the_feed(pair: tuple[Gateway, Gateway]) -> None:
    a, b = pair
    ask(a, "How do I fold a paper kite?", tags=["kite"])
    until(lambda: tier(b, "How do I fold a paper kite?") == "exact")
    lost = metric(b, "twicetold_feed_lost_total")
    with stopped(b):
        for thing in ("a rope bridge", "a tin roof", "a wine cellar"):
            ask(a, f"How do I paint {thing}?")
        assert invalidate(a, tag="kite")["heard"] == 0
        time.sleep(0.2)

    until(lambda: tier(b, "How do I fold a paper kite?") == "none")
    until(lambda: all(tier(b, f"How can I paint {thing}?") == "semantic" for thing in ("a rope bridge", "a tin roof")))
    assert metric(b, "twicetold_feed_lost_total") == lost


def test_who_was_away_for_longer_than_the_feed_reaches_reads_everything_anew(
    pair: tuple[Gateway, Gateway], server: RedisServer
) -> None:
    a, b = pair
    ask(a, "How do I dry green tea?", tags=["tea"])
    until(lambda: tier(b, "How do I dry green tea?") == "exact")
    lost = metric(b, "twicetold_feed_lost_total")
    with stopped(b):
        ask(a, "How do I hang a fishing net?")
        invalidate(a, tag="tea")
        time.sleep(0.2)
        (feed,) = server.client.keys("twicetold:*:feed")
        server.client.xtrim(feed, maxlen=1, approximate=False)

    until(lambda: tier(b, "How do I dry green tea?") == "none", RETURN_S)
    until(lambda: tier(b, "How can I hang a fishing net?") == "semantic", RETURN_S)
    assert metric(b, "twicetold_feed_lost_total") == lost + 1
