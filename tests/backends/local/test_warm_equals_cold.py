"""Warm equals cold: what a kept prefix gives is what computing it gives, whatever was hit, and wherever it came from.

The matrix: how the prefix comes back x model x numerics. Each case says which tier has to give how much, and fails when
it does not: a case without a hit would prove nothing. In exact mode log probabilities, keys and values agree to the
last bit; in fast mode, in float32, the tokens do.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from backends.local.engine.engine import Engine
from backends.local.params import Sampling
from backends.local.wire import Abort
from tests.backends.local import tiny
from tests.backends.local.engines import Outcome, ask, engine, reference, rest, run, said, tokens
from tests.kvtier.tiers.servers import RedisServer, needs_redis, serving

Checkpoints = Callable[[str], Path]
BLOCK = 32
BYTES_PER_TOKEN = 3 * 2 * 2 * 16 * 4  # of the tiny models
SPEAKING = Sampling(temperature=0.0, top_logprobs=4)
MODELS = (*tiny.FAMILIES, "demo")
PROMPT = tokens(1, 300)
families = pytest.mark.parametrize("family", MODELS)
few_families = pytest.mark.parametrize("family", ["llama", "mistral"])


@dataclass(frozen=True, slots=True)
class Setting:
    """One model in one mode. Few chunks are computed: before four of them are timed, every tier is believed."""

    path: Path
    is_exact: bool
    chunk: int = 256
    weights: str = ""
    dtype: str = "float32"

    def engine(self, **overrides: Any) -> Engine:
        numerics = {"exact": self.is_exact, "prefill_chunk": self.chunk, "weights": self.weights, "dtype": self.dtype}
        return engine(self.path, **{**numerics, **overrides})

    def reach(self, num_tokens: int) -> int:
        """How much of so many known tokens a hit gives."""
        return num_tokens // self.chunk * self.chunk if self.is_exact else num_tokens


@pytest.fixture(params=["fast", "exact"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=MODELS)
def setting(request: pytest.FixtureRequest, mode: str, checkpoints: Checkpoints) -> Setting:
    return Setting(checkpoints(request.param), is_exact=mode == "exact")


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from serving(tmp_path_factory.mktemp("redis"))


@cache
def cold(setting: Setting, prompt: tuple[int, ...], n: int) -> Outcome:
    """What a fresh engine says."""
    submit = ask(list(prompt), 9, sampling=SPEAKING, ignore_eos=True, n=n)
    return run(setting.engine(), submit, watched=(9, n - 1))


def check(
    setting: Setting, warm: Engine, prompt: list[int], tiers: Mapping[str, int], *, n: int = 1, salt: str = ""
) -> Outcome:
    """Ask a warm engine: the prefix comes from `tiers`, and everything else is as if it had been computed."""
    submit = ask(prompt, 9, sampling=SPEAKING, ignore_eos=True, n=n, salt=salt)
    outcome = run(warm, submit, watched=(9, n - 1))
    assert outcome.by_tier[9, 0] == tiers
    assert_same(setting, outcome, cold(setting, tuple(prompt), n))
    return outcome


def assert_same(setting: Setting, warm: Outcome, cold: Outcome) -> None:
    mine = {choice: ids for choice, ids in warm.tokens.items() if choice[0] == 9}
    assert mine == dict(cold.tokens)
    if setting.is_exact:
        assert said(warm, 9) == said(cold, 9)
        assert warm.rows is not None
        assert cold.rows is not None
        assert torch.equal(warm.rows.view(torch.int32), cold.rows.view(torch.int32))


@pytest.fixture(params=["blocks", "slab"])
def place(request: pytest.FixtureRequest) -> str:
    """Where the rows of a hit are: in blocks, or also in the slab that the first request has left."""
    return str(request.param)


def in_place(warm: Engine) -> int:
    """Rows of hits that were not copied."""
    return warm.stats().kv["in_place_tokens"]


def test_a_full_hit(setting: Setting, place: str) -> None:
    warm = setting.engine()
    run(warm, ask(PROMPT))
    if place == "blocks":
        warm._runner.drop_spare()

    check(setting, warm, PROMPT, {"ram": setting.reach(299)})

    assert in_place(warm) == (setting.reach(299) if place == "slab" else 0)


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_quantised_weights_find_what_they_left_in_ram_and_on_disk(
    weights: str, mode: str, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    setting = Setting(checkpoints("llama"), mode == "exact", weights=weights)
    with_disk = {"kv_dir": str(tmp_path), "kv_disk_bytes": 64 << 20}
    first = setting.engine(**with_disk)
    run(first, ask(PROMPT))
    check(setting, first, PROMPT, {"ram": setting.reach(299)})
    rest(first)
    first.close(30)

    check(setting, setting.engine(**with_disk), PROMPT, {"disk": setting.reach(299)})


def test_bfloat16_finds_what_it_left_to_the_last_bit_in_exact_mode(checkpoints: Checkpoints) -> None:
    setting = Setting(checkpoints("llama"), is_exact=True, dtype="bfloat16")
    warm = setting.engine()
    run(warm, ask(PROMPT))

    check(setting, warm, PROMPT, {"ram": 256})


def test_bfloat16_finds_what_it_left_up_to_its_rounding_in_fast_mode(checkpoints: Checkpoints) -> None:
    setting = Setting(checkpoints("llama"), is_exact=False, dtype="bfloat16")
    prompt, warm = [*PROMPT[:200], *tokens(2, 70)], setting.engine()
    run(warm, ask(PROMPT))
    submit = ask(prompt, 9, sampling=SPEAKING, ignore_eos=True)

    outcome = run(warm, submit, watched=(9, 0))

    assert outcome.by_tier[9, 0] == {"ram": 200}
    mine, others = outcome.rows, cold(setting, tuple(prompt), 1).rows
    assert mine is not None
    assert others is not None
    mine, others = (rows[..., : len(prompt), :].float() for rows in (mine, others))
    assert (mine - others).norm() < 0.02 * others.norm()  # one wrong row in 270 is 0.08


@pytest.mark.parametrize("shared", [255, 256, 257])
def test_a_prompt_that_parts_at_a_border_of_blocks(shared: int, setting: Setting, place: str) -> None:
    setting = Setting(setting.path, setting.is_exact, chunk=128)
    warm = setting.engine()
    run(warm, ask(PROMPT))
    if place == "blocks":
        warm._runner.drop_spare()

    check(setting, warm, [*PROMPT[:shared], 301, *tokens(2, 70)], {"ram": setting.reach(shared)})

    assert in_place(warm) == (setting.reach(shared) if place == "slab" else 0)


@few_families
def test_a_conversation_goes_on_in_its_slab_turn_by_turn(family: str, mode: str, checkpoints: Checkpoints) -> None:
    setting = Setting(checkpoints(family), mode == "exact", chunk=64)
    warm, history = setting.engine(), PROMPT[:100]
    for turn in range(4):
        outcome = run(warm, ask(history, sampling=SPEAKING, ignore_eos=True))
        history = [*history, *outcome.tokens[1, 0], *tokens(turn, 30)]
    assert in_place(warm) >= (64 + 128 + 128 if setting.is_exact else 100 + 140 + 180)

    check(setting, warm, history, {"ram": 192 if setting.is_exact else len(history) - 31})


@few_families
def test_an_edited_history_goes_on_in_its_slab_too(family: str, mode: str, checkpoints: Checkpoints) -> None:
    setting = Setting(checkpoints(family), mode == "exact", chunk=64)
    warm = setting.engine()
    run(warm, ask(PROMPT))
    edited = [*PROMPT[:200], 301, *PROMPT[200:]]

    check(setting, warm, edited, {"ram": setting.reach(200)})
    assert in_place(warm) == setting.reach(200)
    check(setting, warm, PROMPT, {"ram": setting.reach(299)})  # what was written over is there in blocks
    assert in_place(warm) == 2 * setting.reach(200)


def test_a_prefix_evicted_from_ram_and_restored_from_disk(setting: Setting, tmp_path: Path) -> None:
    bytes_per_block = setting.engine()._runner.cache.geometry.block_bytes
    warm = setting.engine(kv_budget_bytes=12 * bytes_per_block, kv_dir=str(tmp_path), kv_disk_bytes=64 << 20)
    run(warm, ask(PROMPT))
    rest(warm)
    assert warm._runner.cache.flush(30)  # what has left RAM and is still queued for the disk is a miss
    run(warm, ask(tokens(5, 256)))

    submit = ask(PROMPT, 9, sampling=SPEAKING, ignore_eos=True)
    outcome = run(warm, submit, watched=(9, 0))

    assert outcome.cached[9, 0] == setting.reach(299) == sum(outcome.by_tier[9, 0].values())
    assert outcome.by_tier[9, 0]["disk"] >= 128
    assert_same(setting, outcome, cold(setting, tuple(PROMPT), 1))
    warm.close(0)


def test_a_prefix_restored_after_a_restart(setting: Setting, tmp_path: Path) -> None:
    tiers = {"kv_dir": str(tmp_path), "kv_disk_bytes": 64 << 20}
    before = setting.engine(**tiers)
    run(before, ask(PROMPT))
    before.close(30)  # however slow the disk is just now

    warm = setting.engine(**tiers)
    check(setting, warm, PROMPT, {"disk": setting.reach(299)})
    check(setting, warm, PROMPT, {"ram": setting.reach(299)})
    warm.close(0)


@needs_redis
def test_a_prefix_restored_from_redis(setting: Setting, redis_server: RedisServer) -> None:
    redis_server.client.flushall()
    before = setting.engine(kv_redis=redis_server.url)
    run(before, ask(PROMPT))
    before.close(30)  # however slow the disk is just now

    warm = setting.engine(kv_redis=redis_server.url)
    check(setting, warm, PROMPT, {"redis": setting.reach(288)})  # found by key: whole blocks
    warm.close(0)


def test_a_head_in_ram_and_a_tail_on_disk(setting: Setting, tmp_path: Path) -> None:
    tiers = {"kv_dir": str(tmp_path), "kv_disk_bytes": 64 << 20}
    setting = Setting(setting.path, setting.is_exact, chunk=128)
    long = [*PROMPT, *tokens(4, 300)]
    before = setting.engine(**tiers)
    run(before, ask(long))
    before.close(30)  # however slow the disk is just now
    warm = setting.engine(**tiers)
    run(warm, ask([*long[:260]], use_kv=True))
    head = setting.reach(260)

    check(setting, warm, long, {"ram": head, "disk": setting.reach(599) - head})
    warm.close(0)


def test_a_hit_while_others_decode(setting: Setting) -> None:
    warm = setting.engine()
    run(warm, ask(PROMPT))
    for i in range(3):
        warm.submit(ask(tokens(20 + i, 40 + 9 * i), i, max_tokens=60, ignore_eos=True))
    for _ in range(8):
        warm.step()
    assert warm.stats().running == 3

    check(setting, warm, PROMPT, {"ram": setting.reach(299)})


def test_several_choices(setting: Setting) -> None:
    warm = setting.engine()
    run(warm, ask(PROMPT))

    outcome = check(setting, warm, PROMPT, {"ram": setting.reach(299)}, n=3)

    assert outcome.by_tier == {(9, index): {"ram": setting.reach(299)} for index in range(3)}
    assert outcome.cached == {(9, index): setting.reach(299) for index in range(3)}


def test_tenants_with_the_same_text_share_nothing(setting: Setting) -> None:
    warm = setting.engine()
    run(warm, ask(PROMPT, salt="one"))

    check(setting, warm, PROMPT, {}, salt="another")
    check(setting, warm, PROMPT, {"ram": setting.reach(299)}, salt="another")
    check(setting, warm, PROMPT, {"ram": setting.reach(299)}, salt="one")


@families
def test_a_prefix_that_was_eight_bits_for_a_while_is_nearly_the_same(
    family: str, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    setting = Setting(checkpoints(family), is_exact=False)
    tiers = {"kv_dir": str(tmp_path), "kv_disk_bytes": 64 << 20, "kv_codec": "int8"}
    before = setting.engine(**tiers)
    run(before, ask(PROMPT))
    before.close(30)  # however slow the disk is just now
    warm = setting.engine(**tiers)
    loud = Sampling(temperature=0.0, top_logprobs=20)

    outcome = run(warm, ask(PROMPT, 9, sampling=loud, max_tokens=1))
    plain = run(setting.engine(), ask(PROMPT, 9, sampling=loud, max_tokens=1))

    assert outcome.by_tier[9, 0] == {"disk": 299}
    near, right = (dict(said(each, 9)[0][3]) for each in (outcome, plain))
    common = near.keys() & right.keys()
    assert len(common) >= 15
    assert max(abs(near[token] - right[token]) for token in common) < 0.5
    warm.close(0)


# What else happens to a warm engine.


@families
def test_what_is_said_is_what_transformers_says(family: str, checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints(family), tokens(1, 200)
    warm = engine(path)
    first = run(warm, ask(prompt))

    again = run(warm, ask(prompt, 2))

    assert (first.cached[1, 0], again.cached[2, 0]) == (0, 199)
    assert again.tokens[2, 0] == first.tokens[1, 0] == reference(path, prompt)


@few_families
@pytest.mark.parametrize("shared", [1, 31, 32, 33, 45, 63, 64, 65, 160])
def test_a_prompt_that_diverges_anywhere_resumes_at_the_very_token(
    family: str, shared: int, checkpoints: Checkpoints
) -> None:
    path, first = checkpoints(family), tokens(1, 180)
    other = [*first[:shared], 301, *tokens(2, 70)]
    warm = engine(path)
    run(warm, ask(first))

    outcome = run(warm, ask(other, 2))

    assert outcome.cached[2, 0] == shared
    assert outcome.tokens[2, 0] == run(engine(path), ask(other)).tokens[1, 0] == reference(path, other)


@families
def test_the_next_turn_resumes_behind_the_last_answer(family: str, checkpoints: Checkpoints) -> None:
    path, history = checkpoints(family), tokens(3, 75)
    warm = engine(path)
    known = 0
    for turn in range(1, 5):
        outcome = run(warm, ask(history, turn, max_tokens=20))
        assert outcome.tokens[turn, 0] == reference(path, history, 20)
        assert outcome.cached[turn, 0] == known
        answered = [*history, *outcome.tokens[turn, 0]]
        known = len(answered) - 1  # the last token was chosen and never computed
        history = [*answered, *tokens(10 + turn, 17)]


@families
def test_concurrent_requests_do_not_change_each_other(family: str, checkpoints: Checkpoints) -> None:
    path, system = checkpoints(family), tokens(4, 100)
    prompts = [[*system[: 100 - 9 * i], *tokens(20 + i, 30 + 40 * i)] for i in range(7)]
    warm = engine(path)
    run(warm, ask(system))

    outcome = run(warm, *[ask(prompt, i, max_tokens=24) for i, prompt in enumerate(prompts)])

    for i, prompt in enumerate(prompts):
        assert outcome.cached[i, 0] >= 32
        assert outcome.tokens[i, 0] == reference(path, prompt, 24)


def test_a_sequence_is_unharmed_by_the_abort_of_its_neighbour(checkpoints: Checkpoints) -> None:
    path, shared = checkpoints("llama"), tokens(5, 300)
    prompt = [*shared[:290], *tokens(6, 40)]
    warm = engine(path)
    warm.submit(ask(shared, 1))
    warm.submit(ask(tokens(7, 400), 2))
    for _ in range(4):
        warm.step()
    warm.abort(Abort(1))
    warm.abort(Abort(2))

    outcome = run(warm, ask(prompt, 3))

    assert outcome.cached[3, 0] >= 128
    assert outcome.tokens[3, 0] == reference(path, prompt)


def test_who_waited_for_an_aborted_neighbour_goes_on_from_what_it_left(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(5, 800)
    warm = engine(path)
    warm.submit(ask(prompt, 1))
    warm.submit(ask(prompt, 2))
    for _ in range(3):
        warm.step()
    assert (warm.stats().running, warm.stats().waiting) == (1, 1)
    warm.abort(Abort(1))

    outcome = run(warm)

    assert outcome.cached[2, 0] == 512
    assert outcome.tokens[2, 0] == reference(path, prompt)


def test_equal_prompts_at_once_are_computed_once(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("qwen2"), tokens(8, 260)
    warm = engine(path)

    outcome = run(warm, *[ask(prompt, i) for i in range(4)])

    expected = reference(path, prompt)
    assert [outcome.tokens[i, 0] for i in range(4)] == [expected] * 4
    assert [outcome.cached[i, 0] for i in range(4)] == [0, 256, 256, 256]
    assert warm.stats().prefill_tokens == 260 + 3 * 4


def test_a_preempted_sequence_goes_on_where_it_was(checkpoints: Checkpoints) -> None:
    path = checkpoints("qwen3")
    prompts = [tokens(30 + i, 60 + 32 * i) for i in range(3)]
    bytes_per_token = 3 * 2 * 2 * 16 * 4
    small = engine(path, context_tokens=720, slab_budget_bytes=1050 * bytes_per_token)

    outcome = run(small, *[ask(prompt, i, max_tokens=500, ignore_eos=True) for i, prompt in enumerate(prompts)])

    assert small.stats().preemptions > 0
    for i, prompt in enumerate(prompts):
        fresh = run(engine(path, context_tokens=720), ask(prompt, max_tokens=500, ignore_eos=True))
        assert outcome.tokens[i, 0] == fresh.tokens[1, 0]
        assert len(outcome.tokens[i, 0]) == 500


def test_a_small_pool_evicts_and_stays_right(checkpoints: Checkpoints) -> None:
    path = checkpoints("llama")
    block_bytes = 3 * 2 * 2 * 16 * 4 * BLOCK
    warm = engine(path, kv_budget_bytes=6 * block_bytes)
    prompts = [tokens(40 + i % 3, 150) for i in range(9)]

    for i, prompt in enumerate(prompts):
        assert run(warm, ask(prompt, i)).tokens[i, 0] == reference(path, prompt)

    assert warm.stats().kv["evicted_blocks"] > 0


@pytest.mark.parametrize(
    ("fields", "cached"), [({"use_kv": False}, 0), ({"publish_kv": False}, 99), ({"salt": "another"}, 0)]
)
def test_a_request_may_leave_the_kept_prefixes_alone(
    fields: dict[str, Any], cached: int, checkpoints: Checkpoints
) -> None:
    path, prompt = checkpoints("llama"), tokens(9, 100)
    warm = engine(path)
    run(warm, ask(prompt))
    published = warm.stats().kv["published_blocks"]

    outcome = run(warm, ask(prompt, 2, **fields))

    assert outcome.cached[2, 0] == cached
    assert outcome.tokens[2, 0] == reference(path, prompt)
    assert (warm.stats().kv["published_blocks"] > published) == ("salt" in fields)


def test_without_a_budget_nothing_is_kept_and_nothing_breaks(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(9, 100)
    plain = engine(path, kv_budget_bytes=0)

    outcome = run(plain, ask(prompt, 1), ask(prompt, 2))

    assert outcome.cached == {(1, 0): 0, (2, 0): 0}
    assert outcome.tokens[1, 0] == outcome.tokens[2, 0] == reference(path, prompt)


@pytest.mark.parametrize("seed", range(3))
def test_random_traffic_with_aborts_and_too_little_memory_stays_right(seed: int, checkpoints: Checkpoints) -> None:
    rng, path = random.Random(seed), checkpoints(tiny.FAMILIES[seed % 3])
    bytes_per_token = 3 * 2 * 2 * 16 * 4
    small = engine(
        path,
        context_tokens=512,
        kv_budget_bytes=rng.choice([10, 40]) * BLOCK * bytes_per_token,
        slab_budget_bytes=900 * bytes_per_token,
        max_running=4,
    )
    stem, prompts, outcome, aborted = tokens(50, 300), {}, Outcome(), set()
    for request in range(14):
        prompts[request] = [*stem[: rng.randint(0, 300)], *tokens(60 + request, rng.randint(1, 90))]
        outcome.take(small.submit(ask(prompts[request], request, max_tokens=rng.randint(1, 100), ignore_eos=True)))
        for _ in range(rng.randint(0, 12)):
            outcome.take(small.step())
        if rng.random() < 0.25:
            aborted.add(request - 1)
            small.abort(Abort(request - 1))
    outcome.take(run(small).events)

    assert sum(outcome.cached.values()) > 0
    assert {request for request, _ in outcome.finished} >= set(prompts) - aborted
    for (request, _), ids in outcome.tokens.items():
        assert ids == reference(path, prompts[request], 100, ends=False)[: len(ids)]
    stats = small.stats()
    assert (stats.running, stats.waiting, stats.slab_tokens, stats.kv["blocks_leased"]) == (0, 0, 0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_whoever_goes_on_in_whose_slab_says_what_a_cold_engine_says(
    seed: int, mode: str, checkpoints: Checkpoints
) -> None:
    rng, path = random.Random(seed), checkpoints("llama")
    setting = Setting(path, mode == "exact", chunk=64)
    warm, alone = setting.engine(kv_budget_bytes=60 * BLOCK * BYTES_PER_TOKEN), setting.engine()
    histories = {"one": PROMPT[:90], "two": PROMPT[:90]}
    for turn in range(24):
        salt = rng.choice(list(histories))
        history = histories[salt][: rng.choice([500, 500, 500, 70])]  # now and then an edited one
        history = [*history, *tokens(100 + turn, rng.randint(1, 50))][:600]
        n = rng.choice([1, 1, 2])
        submit = ask(history, 9, ignore_eos=True, n=n, salt=salt, owner=salt, sampling=SPEAKING)
        outcome, cold = run(warm, submit), run(alone, ask(history, 9, ignore_eos=True, sampling=SPEAKING, use_kv=False))
        assert all(outcome.tokens[9, i] == cold.tokens[9, 0] for i in range(n))
        histories[salt] = [*history, *outcome.tokens[9, 0]]
        match rng.randrange(8):
            case 0:
                warm.clear()
            case 1:
                warm._runner.drop_spare()
        warm._runner.cache.check()

    assert in_place(warm) > 0
    assert warm.stats().kv["hit_tokens"] >= in_place(warm)
