"""The engine process dies, hangs and loads, and the gateway goes on."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer
from typing import Any

import httpx
import openai
import psutil
import pytest

from tests.backends.local.tiny import build
from tests.e2e.server import Gateway, running_gateway

ENDLESS: dict[str, Any] = {"ignore_eos": True, "cache": {"tiers": []}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("isolation") / "tiny", max_position_embeddings=1 << 15)


@pytest.fixture(scope="module")
def gateway(model: Path) -> Iterator[Gateway]:
    settings = {"cache__semantic": "false", "engine__hang_s": "1.5"}
    with running_gateway(model.parent / "data", "--model", str(model), **settings) as running:
        running.wait("local")
        yield running


def ask(gateway: Gateway, text: str, **more: Any) -> httpx.Response:
    return gateway.post({"model": "tiny", "messages": [{"role": "user", "content": text}], "temperature": 0, **more})


def engine(gateway: Gateway) -> psutil.Process:
    (child,) = psutil.Process(gateway.process.pid).children()
    return child


def test_stored_answers_are_served_while_the_engine_hangs_and_new_ones_by_the_next(gateway: Gateway) -> None:
    known: dict[str, Any] = {"ignore_eos": True, "stop": ["e", "a", " "], "max_tokens": 200}
    first = ask(gateway, "Will this be kept?", **known)
    gateway.wait_for(lambda stats: stats["entries"], 1)
    before = gateway.stats()["engine"]
    engine(gateway).send_signal(signal.SIGSTOP)
    stored = ask(gateway, "Will this be kept?", **known)
    is_alive = gateway.get("/healthz").status_code == 200
    fresh = ask(gateway, "And this?", max_tokens=4)
    stats = gateway.stats()["engine"]

    assert (stored.headers["x-twicetold-tier"], stored.json()["choices"]) == ("exact", first.json()["choices"])
    assert is_alive
    assert fresh.status_code == 200
    assert (stats["hangs"], stats["retries"]) == (before["hangs"] + 1, before["retries"] + 1)
    assert f"twicetold_engine_hangs_total {stats['hangs']}.0" in gateway.get("/metrics").text


def test_a_stream_without_a_token_does_not_notice_that_the_engine_is_killed(gateway: Gateway) -> None:
    before = gateway.stats()["engine"]["retries"]
    messages: Any = [{"role": "user", "content": "Read this."}]
    victim = engine(gateway)
    victim.suspend()  # so that it has not begun
    killing = Timer(0.5, victim.kill)
    killing.start()
    with gateway.openai() as client:
        chunks = list(
            client.chat.completions.create(
                model="tiny", messages=messages, max_tokens=4, stream=True, extra_body=ENDLESS
            )
        )
    killing.join()

    assert chunks[-1].choices[0].finish_reason == "length"
    assert gateway.stats()["engine"]["retries"] == before + 1


def test_a_stream_in_the_middle_of_its_answer_is_told_why_it_ends(gateway: Gateway) -> None:
    messages: Any = [{"role": "user", "content": "Go on for ever."}]
    with gateway.openai() as client:
        stream = client.chat.completions.create(
            model="tiny", messages=messages, max_tokens=20_000, stream=True, extra_body=ENDLESS
        )
        for number, _ in enumerate(stream):
            if number == 5:
                break
        engine(gateway).kill()
        with pytest.raises(openai.APIError, match=r"was killed \(perhaps for want of memory\) in the middle"):
            list(stream)
    gateway.wait("local")


def test_who_asks_while_the_model_loads_and_what_outlives_the_patience_of_a_stop_is_told_so(model: Path) -> None:
    settings = {"cache__semantic": "false", "engine__ready_wait_s": "0.05", "drain_s": "0.3"}
    body: Any = {"model": "tiny", "messages": [{"role": "user", "content": "Go on for ever."}], "max_tokens": 30_000}
    with running_gateway(model.parent / "stopped", "--model", str(model), **settings) as running:
        told = ask(running, "Are you there?")
        part = running.get("/readyz").json()["parts"]["local"]
        running.wait("local")
        answered = ask(running, "Are you there?")
        with running.openai() as client, ThreadPoolExecutor(1) as pool:
            whole = pool.submit(running.post, {**body, **ENDLESS})
            stream = client.chat.completions.create(**body, stream=True, extra_body=ENDLESS)
            next(iter(stream))
            running.wait_for(lambda stats: stats["engine"]["running"], 2)
            last = engine(running).pid
            running.process.send_signal(signal.SIGTERM)
            with pytest.raises(openai.APIError, match="The server is being stopped"):
                list(stream)
        status = running.process.wait(timeout=30)

    error = told.json()["error"]
    assert (told.status_code, error["code"]) == (503, "backend_not_ready")
    assert error["message"].startswith("loading: ")
    assert int(told.headers["retry-after"]) > 0
    assert part.startswith("loading: ")
    assert answered.status_code == 200
    assert whole.result().status_code == 503
    assert whole.result().json()["error"]["code"] == "stopping"
    assert status == -signal.SIGTERM
    assert not psutil.pid_exists(last)
    assert "Traceback" not in (model.parent / "stopped.log").read_text("utf-8")


def test_an_engine_that_is_killed_again_and_again_leaves_no_process_and_comes_back(gateway: Gateway) -> None:
    gateway.wait("local")
    before, seen = gateway.stats()["engine"]["restarts"], set()
    for number in range(2):
        gateway.wait("local")
        victim = engine(gateway)
        seen.add(victim.pid)
        victim.kill()
        gateway.wait_for(lambda stats, known=before + number: stats["engine"]["restarts"] > known, True)
    gateway.wait("local")
    last = engine(gateway).pid  # and no other child
    answer = ask(gateway, "Still there?", max_tokens=4)
    restarts = gateway.stats()["engine"]["restarts"]

    assert (answer.status_code, restarts - before, len(seen - {last})) == (200, 2, 2)
    assert not any(psutil.pid_exists(pid) for pid in seen)
