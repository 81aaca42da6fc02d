"""A running gateway whose clock jumps, a day forth and back, as those of machines do that were asleep or set wrong."""

import json
import mmap
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.server import Gateway, running_gateway
from tests.kvtier.tiers.servers import needs_redis, serving
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

ADMIN_KEY = "adm-" + "Zq7" * 8
HOUR_S, DAY_S = 3600.0, 86_400.0
FILE = "TESTS_CLOCK_OFFSET"

# Python imports a module of this name before anything else; the clock is wrong from the first line of the gateway on.
WRONG_CLOCK = f"""
import mmap, os, struct, time
with open(os.environ["{FILE}"], "rb") as file:
    offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
right, right_ns = time.time, time.time_ns
time.time = lambda: right() + struct.unpack("d", offset)[0]
time.time_ns = lambda: right_ns() + int(struct.unpack("d", offset)[0]) * 10**9
"""


@dataclass
class House:
    """A gateway, its clock, and a connection to it that stays."""

    gateway: Gateway
    offset: mmap.mmap
    http: httpx.Client
    cookie: str = ""

    def jump(self, to_s: float) -> None:
        """Its clock is so far ahead of the right one from now on."""
        self.offset[:] = struct.pack("d", to_s)

    def ask(self, text: str, key: str = "sk-one", **cache: Any) -> httpx.Response:
        body = {"model": "m", "messages": [{"role": "user", "content": text}], "cache": cache}
        return self.http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})

    def tiers(self, text: str, times: int = 2, **cache: Any) -> list[str]:
        """Which tier answers, asked so often."""
        answers = [self.ask(text, **cache) for _ in range(times)]
        assert [one.status_code for one in answers] == [200] * times
        assert len({one.json()["choices"][0]["message"]["content"] for one in answers}) == 1
        assert all(float(one.headers.get("age", 0)) >= 0 for one in answers)
        return [one.headers["x-twicetold-tier"] for one in answers]

    def admin(self, method: str, path: str, body: Any = None) -> httpx.Response:
        said = self.http.request(
            method, f"/admin/api{path}", json=body, headers={"authorization": f"Bearer {ADMIN_KEY}"}
        )
        assert said.is_success, said.text
        return said

    def log_in(self) -> None:
        said = self.http.post("/admin/api/session", json={"key": ADMIN_KEY}).raise_for_status()
        self.cookie = said.headers["set-cookie"].partition(";")[0]
        self.http.cookies.clear()

    @property
    def session(self) -> str:
        """What the page is told that has the cookie."""
        return str(self.http.get("/admin/api/session", headers={"cookie": self.cookie}).json()["state"])

    def is_well(self) -> bool:
        """Whether whoever looks at it has an answer."""
        pages = [self.http.get(path) for path in ("/healthz", "/readyz", "/metrics")]
        pages += [self.admin("GET", path) for path in ("/stats", "/keys", "/tenants", "/entries")]
        return all(page.status_code == 200 for page in pages)


@contextmanager
def house_in(folder: Path, upstream: RunningUpstream, *flags: str) -> Iterator[House]:
    """Start a gateway whose clock can be told to jump."""
    (folder / "data").mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(WRONG_CLOCK)
    (folder / "data" / "secret").write_bytes(b"one secret for both gateways....")
    (folder / "admin.key").write_text(ADMIN_KEY)
    (folder / "offset").write_bytes(struct.pack("d", 0.0))
    flags = ("--upstream", upstream.base_url, "--admin-key-env", f"@{folder / 'admin.key'}", *flags)
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(folder))
            patch.setenv(FILE, str(folder / "offset"))
            gateway = stack.enter_context(running_gateway(folder / "data", *flags, cache__semantic="false"))
        offset = mmap.mmap(stack.enter_context((folder / "offset").open("r+b")).fileno(), 8)
        http = stack.enter_context(httpx.Client(base_url=gateway.url, **LOOPBACK, timeout=60))
        gateway.wait("upstream")
        yield House(gateway, stack.enter_context(offset), http)


@pytest.fixture
def house(upstream: RunningUpstream, tmp_path: Path) -> Iterator[House]:
    with house_in(tmp_path / "house", upstream) as one:
        yield one


@pytest.fixture
def pair(upstream: RunningUpstream, tmp_path: Path) -> Iterator[tuple[House, House]]:
    """Two on one Redis, each with a clock of its own."""
    (tmp_path / "redis").mkdir()
    for server in serving(tmp_path / "redis"):
        shared = ("--redis", server.url)
        with house_in(tmp_path / "a", upstream, *shared) as a, house_in(tmp_path / "b", upstream, *shared) as b:
            for one in (a, b):
                one.gateway.wait("redis", "feed")
            yield a, b


def test_no_answer_outlives_its_life_and_none_is_lost_for_ever(house: House, upstream: RunningUpstream) -> None:
    assert house.tiers("What lasts?") == ["full", "exact"]
    assert house.tiers("What ends?", ttl=HOUR_S) == ["full", "exact"]

    house.jump(DAY_S)
    assert house.tiers("What lasts?") == ["exact", "exact"]
    assert house.tiers("What ends?", ttl=HOUR_S) == ["full", "exact"]
    assert house.tiers("What is late?", ttl=HOUR_S) == ["full", "exact"]
    assert house.is_well()

    house.jump(0.0)
    for text in ("What lasts?", "What ends?", "What is late?"):
        assert house.tiers(text, ttl=HOUR_S) == ["exact", "exact"]
    assert house.tiers("What is late?", **{"s-maxage": 60}) == ["full", "exact"]  # how old it is, nobody knows
    assert house.is_well()

    house.jump(DAY_S + 2 * HOUR_S)
    assert house.tiers("What ends?", ttl=HOUR_S) == ["full", "exact"]

    house.jump(-DAY_S)
    assert house.tiers("What lasts?") == ["exact", "exact"]
    assert house.tiers("What was early?") == ["full", "exact"]
    assert house.is_well()

    house.jump(0.0)
    for text in ("What lasts?", "What was early?"):
        assert house.tiers(text) == ["exact", "exact"]
    assert upstream.counters()["requests"] == 7


def test_a_stream_in_which_the_clock_jumps_comes_whole_and_is_kept(house: House, upstream: RunningUpstream) -> None:
    upstream.control(mode="slow:0.02")
    body = {"model": "m", "messages": [{"role": "user", "content": "What jumps?"}], "stream": True}
    told = []
    with house.http.stream("POST", "/v1/chat/completions", json=body) as response:
        for number, line in enumerate(line for line in response.iter_lines() if line):
            house.jump((DAY_S, -DAY_S, 0.0)[number % 3])
            told.append(line)
    house.jump(0.0)
    assert told[-1] == "data: [DONE]"
    words = [json.loads(line[6:])["choices"] for line in told[:-1]]
    said = "".join(choices[0]["delta"].get("content") or "" for choices in words if choices)

    again = house.http.post("/v1/chat/completions", json={**body, "stream": False})
    assert again.headers["x-twicetold-tier"] == "exact"
    assert again.json()["choices"][0]["message"]["content"] == said


def test_keys_and_sessions_end_with_the_clock_and_are_good_again_when_it_is(house: House) -> None:
    made = house.admin("POST", "/keys", {"name": "app", "expires_in_s": HOUR_S}).json()
    house.log_in()
    assert (house.ask("Who is there?", made["key"]).status_code, house.session) == (200, "session")

    house.jump(DAY_S)
    assert (house.ask("Who is there?", made["key"]).status_code, house.session) == (401, "login")
    later = house.admin("POST", "/keys", {"name": "later", "expires_in_s": HOUR_S}).json()
    assert house.ask("Who is there?", later["key"]).status_code == 200

    house.jump(0.0)
    assert (house.ask("Who is there?", made["key"]).status_code, house.session) == (200, "session")
    house.jump(-DAY_S)
    assert house.ask("Who is there?", made["key"]).status_code == 200
    assert house.is_well()


def test_limits_hold_nobody_longer_than_their_minute(house: House) -> None:
    made = house.admin("POST", "/keys", {"name": "app"}).json()
    house.admin("PUT", f"/tenants/{made['tenant']}", {"limits": {"requests_per_minute": 3, "tokens_per_day": 10**6}})
    statuses = [house.ask("How many?", made["key"], **{"no-cache": True}).status_code for _ in range(5)]
    assert set(statuses) == {200, 429}

    for to_s in (DAY_S, 0.0, -DAY_S, 0.0):
        house.jump(to_s)
        said = house.ask("How many?", made["key"], **{"no-cache": True})
        assert said.status_code in (200, 429)
        assert float(said.headers.get("retry-after", 0)) <= 60.0
    assert house.is_well()


@needs_redis
@pytest.mark.parametrize("ahead_s", [DAY_S, -DAY_S], ids=["ahead", "behind"])
def test_gateways_whose_clocks_are_a_day_apart_generate_once_and_have_each_others_answers(
    pair: tuple[House, House], upstream: RunningUpstream, ahead_s: float
) -> None:
    right, wrong = pair
    wrong.jump(ahead_s)
    for number, (first, second) in enumerate([(right, wrong), (wrong, right)], 1):
        text = f"Who makes answer {number}?"
        upstream.control(mode="slow:0.1", reset=True)  # 12 tokens
        with ThreadPoolExecutor(1) as beside:
            asked = beside.submit(first.ask, text)
            while not upstream.counters()["requests"]:
                time.sleep(0.01)
            shared = second.ask(text)
            said = [one.json()["choices"][0]["message"]["content"] for one in (asked.result(), shared)]
        assert said[0] == said[1]
        assert upstream.counters()["requests"] == 1  # the lease is of nobody's clock but Redis's
        for one in pair:
            assert one.tiers(text) == ["exact", "exact"]
    wrong.jump(0.0)
    for number in (1, 2):
        assert [one.tiers(f"Who makes answer {number}?", 1) for one in pair] == [["exact"], ["exact"]]
    assert all(one.is_well() for one in pair)


@needs_redis
def test_a_lease_holds_while_the_clock_of_who_has_it_jumps(
    pair: tuple[House, House], upstream: RunningUpstream
) -> None:
    leader, other = pair
    upstream.control(mode="slow:0.2", reset=True)
    with ThreadPoolExecutor(2) as beside:
        asked = beside.submit(leader.ask, "Who leads?")
        while not upstream.counters()["requests"]:
            time.sleep(0.01)
        heard = beside.submit(other.ask, "Who leads?")
        while not asked.done():
            for to_s in (DAY_S, -DAY_S, 0.0):
                leader.jump(to_s)
                time.sleep(0.05)
        said = [one.result().json()["choices"][0]["message"]["content"] for one in (asked, heard)]

    assert said[0] == said[1]
    assert upstream.counters()["requests"] == 1
    assert [one.tiers("Who leads?", 1) for one in pair] == [["exact"], ["exact"]]
