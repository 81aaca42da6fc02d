from dataclasses import replace

import pytest

from backends.routing.policies import POLICIES
from backends.routing.prompt import Prompt
from bench.routing.cells import chooser
from bench.routing.engine import Engine, Event, Hardware, Job
from bench.routing.simulate import Outcome, Scene, one_cache, simulate
from bench.routing.workloads import Ask, Session, Shape, Workload, sessions

HARDWARE = Hardware()


def finish(engine: Engine, *jobs: Job) -> list[Event]:
    events: list[Event] = []
    engine.waiting.extend(jobs)
    engine.advance(engine.now + 1000, events)
    return events


def job(number: int, blocks: range, num_answer: int = 1) -> Job:
    return Job(number, 0.0, blocks, len(blocks) * 32, num_answer)


def test_an_engine_reads_at_the_speed_of_its_products() -> None:
    one = job(0, range(1, 257))  # 8,192 tokens: four steps
    finish(Engine(HARDWARE, 32), one)

    products, looks = 8192 * HARDWARE.token_s, 8192**2 / 2 * HARDWARE.look_s
    assert one.first == pytest.approx(products + looks + 4 * HARDWARE.step_s)


def test_an_engine_decodes_one_token_a_step() -> None:
    one = job(0, range(1, 3), num_answer=101)
    finish(Engine(HARDWARE, 32), one)

    step = HARDWARE.step_s + HARDWARE.weights_s
    assert one.finished - one.first == pytest.approx(100 * step, rel=0.01)


def test_what_an_engine_read_is_found_until_it_is_pushed_out() -> None:
    engine = Engine(replace(HARDWARE, kv_tokens=100 * 32), 32)
    first, again, other, late = job(0, range(1, 61)), job(1, range(1, 61)), job(2, range(61, 151)), job(3, range(1, 61))
    for one in (first, again, other, late):
        finish(engine, one)

    assert (first.cached_tokens, again.cached_tokens) == (0, 60 * 32)
    assert 0 < late.cached_tokens < 20 * 32  # the far end went first
    assert engine.num_running == 0


def test_a_request_waits_until_there_is_room() -> None:
    engine = Engine(replace(HARDWARE, kv_tokens=100 * 32), 32)
    one, two = job(0, range(1, 71), num_answer=50), job(1, range(101, 171))
    finish(engine, one, two)

    assert two.first > one.finished


@pytest.fixture(scope="module")
def small() -> Workload:
    return sessions("small", 120, 2.0, Shape(systems=10, system_tokens=(2000, 4000)))


@pytest.fixture(scope="module")
def outcomes(small: Workload) -> dict[str, Outcome]:
    scene = Scene(replicas=4)
    return {policy: simulate(small, chooser(policy), scene) for policy in POLICIES}


def test_every_request_of_a_workload_is_answered_once(small: Workload, outcomes: dict[str, Outcome]) -> None:
    turns = sum(len(session.turns) for session in small.sessions)
    for outcome in outcomes.values():
        assert len(outcome.asks) == len(outcome.ttft_s) == len(outcome.chosen) == turns
        assert min(outcome.ttft_s) > 0


def test_affinity_finds_nearly_what_one_cache_would(outcomes: dict[str, Outcome]) -> None:
    affinity, least = outcomes["affinity"], outcomes["least_load"]
    one = one_cache(affinity.asks, 32, 4 * HARDWARE.kv_tokens)

    assert affinity.hit_share >= 0.9 * one
    assert affinity.hit_share > 1.2 * least.hit_share
    assert affinity.ttft(90) <= least.ttft(90)


def test_one_cache_counts_what_comes_back_before_it_is_pushed_out() -> None:
    asks = [Ask(Prompt(tuple(blocks), 320, 32), 1) for blocks in (range(10), range(10), range(10, 20), range(10))]

    assert one_cache(asks, 32, None) == 0.5
    assert one_cache(asks, 32, 320) == 0.25


def test_the_same_seed_gives_the_same_figures() -> None:
    asked = Workload("one", (Session(0.0, (Ask(Prompt((1, 2), 64, 32), 5),)),), 32)
    make = [simulate(asked, chooser("affinity"), Scene(), 3) for _ in range(2)]

    assert make[0] == make[1]
    assert sessions("x", 5, 1.0, Shape(), 7) == sessions("x", 5, 1.0, Shape(), 7)
