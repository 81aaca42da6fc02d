"""A near miss of the answer cache makes the engine faster, and changes nothing it says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.server import Gateway, running_gateway

COLD: dict[str, Any] = {"cache": {"tiers": []}}
QUESTION, ALIKE = "What is the KV cache?", "Can you tell me what the KV cache is?"


def ask(gateway: Gateway, question: str, **more: Any) -> httpx.Response:
    messages = [{"role": "user", "content": question}]
    return gateway.post({"model": "demo", "messages": messages, "temperature": 0, **more})


def text(response: httpx.Response) -> str:
    said: str = response.json()["choices"][0]["message"]["content"]
    return said


def accepted(gateway: Gateway) -> float:
    lines = gateway.get("/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith('twicetold_draft_tokens_total{outcome="accepted"}')]
    return float(line.split()[-1])


@pytest.fixture(scope="module")
def drafting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that has measured what a forward takes; nothing is near enough to be a hit."""
    folder = tmp_path_factory.mktemp("drafts") / "data"
    with running_gateway(folder, cache__min_similarity="0.9999", engine__dtype="float32") as gateway:
        gateway.wait("local", "semantic")
        for warm_up in ("What is a cache?", "What is a block?"):
            ask(gateway, warm_up, **COLD)
        yield gateway


def test_the_answer_to_a_question_like_it_is_drafted_from(drafting: Gateway) -> None:
    ask(drafting, QUESTION)
    drafting.wait_for(lambda stats: stats["vectors"], 1)
    before = accepted(drafting)

    near = ask(drafting, ALIKE)
    after = accepted(drafting)
    cold = ask(drafting, ALIKE, **COLD)

    assert near.headers["x-twicetold-tier"] != "semantic"
    assert after - before > 10
    assert text(near) == text(cold)


def drafted(gateway: Gateway) -> bool:
    """Whether a prediction is drafted from; it never changes the answer."""
    said = text(ask(gateway, QUESTION, **COLD))
    before = accepted(gateway)
    predicted = ask(gateway, QUESTION, prediction={"type": "content", "content": said}, **COLD)

    assert text(predicted) == said
    return accepted(gateway) > before


def test_a_prediction_of_the_caller_is_drafted_from(drafting: Gateway) -> None:
    assert drafted(drafting)


def test_drafts_can_be_switched_off(tmp_path: Path) -> None:
    with running_gateway(tmp_path / "data", cache__semantic="false", engine__drafts="false") as gateway:
        gateway.wait("local")
        assert not drafted(gateway)
