"""A near miss of the answer cache makes the engine faster, and changes nothing it says."""

from pathlib import Path
from typing import Any

import httpx

from tests.e2e.server import Gateway, running_gateway

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


def test_the_answer_to_a_question_like_it_is_drafted_from(tmp_path: Path) -> None:
    with running_gateway(tmp_path / "data", cache__min_similarity="0.9999", engine__dtype="float32") as gateway:
        gateway.wait("local", "semantic")
        for warm_up in ("What is a cache?", "What is a block?"):  # what a forward takes is measured first
            ask(gateway, warm_up, cache={"tiers": []})
        ask(gateway, QUESTION)
        gateway.wait_for(lambda stats: stats["vectors"], 1)
        before = accepted(gateway)

        near = ask(gateway, ALIKE)
        after = accepted(gateway)
        cold = ask(gateway, ALIKE, cache={"tiers": []})

        assert near.headers["x-twicetold-tier"] != "semantic"
        assert after - before > 10
        assert text(near) == text(cold)


def test_a_prediction_of_the_caller_is_drafted_from_and_drafts_can_be_switched_off(tmp_path: Path) -> None:
    cold: dict[str, Any] = {"cache": {"tiers": []}}
    for switch in ("true", "false"):
        folder = tmp_path / switch
        with running_gateway(folder, cache__semantic="false", engine__drafts=switch) as gateway:
            gateway.wait("local")
            said = text(ask(gateway, QUESTION, **cold))
            before = accepted(gateway)
            predicted = ask(gateway, QUESTION, prediction={"type": "content", "content": said}, **cold)

            assert text(predicted) == said
            assert (accepted(gateway) > before) == (switch == "true")
