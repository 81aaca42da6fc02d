"""The semantic tier through a real server: measured before it serves, taught by traffic, told by users, restarted."""

import time
from collections.abc import Iterator
from operator import mul
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from gateway.identity.scope import tenant_of
from gateway.identity.secret import load_secret
from tests.deploy.metrics import not_as_promised, not_exported, undocumented
from tests.e2e.server import Gateway, running_gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

QUESTION = "How do I reset my password?"
ANSWER = "Click on the forgotten password link on the sign in page."
LONGER = "Click on the forgotten password link on the sign in page, then open the mail that we send to you."
NEAR = ("I forgot my password, how do I reset it?", "My password has to be reset, how is that done?")

THINGS = ("password", "address", "card", "plan", "phone number", "photo", "ticket", "order")
FORMS = (
    "How do I change my {}?",
    "My {} has to be changed, how is that done?",
    "What are the steps for changing the {} of mine?",
    "I want to change my {}, how does that work?",
)


class Talk:
    """One tenant's talk with a gateway."""

    def __init__(self, gateway: Gateway, upstream: RunningUpstream, key: str) -> None:
        self.gateway, self.upstream = gateway, upstream
        self.client: OpenAI = gateway.openai(key)
        self.key = key
        self.similarity: str | None = None  # as the last answer's header says

    def ask(self, question: str, answer: str = ANSWER) -> tuple[str, str, str]:
        """Tier, text and id of the answer; `answer` is what the model would say."""
        self.upstream.control(mode=f"say:{answer}")
        raw = self.client.chat.completions.with_raw_response.create(
            model="m", messages=[{"role": "user", "content": question}]
        )
        completion = raw.parse()
        self.similarity = raw.headers.get("x-twicetold-similarity")
        return raw.headers["x-twicetold-tier"], completion.choices[0].message.content or "", completion.id

    def lane(self, tenant: str) -> dict[str, Any]:
        lanes = self.gateway.get("/admin/api/thresholds").json()["lanes"]
        found: dict[str, Any] = next((lane for lane in lanes if lane["tenant"] == tenant), {"labels": {}})
        return found

    def put(self, **body: Any) -> httpx.Response:
        return httpx.put(f"{self.gateway.url}/admin/api/thresholds", json=body, timeout=30, **LOOPBACK)

    def feedback(self, answer_id: str, verdict: str) -> httpx.Response:
        body, headers = {"id": answer_id, "verdict": verdict}, {"Authorization": f"Bearer {self.key}"}
        return httpx.post(f"{self.gateway.url}/v1/cache/feedback", json=body, headers=headers, **LOOPBACK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("semantic") / "data"


def opened(folder: Path, upstream: RunningUpstream) -> Any:
    settings = {  # the judge's model is a mode of the upstream
        "cache__shadow_rate": "0",
        "cache__judge": "say:yes",
        "cache__semantic_history": "loose",
        "cache__rewriter": "rules",
    }
    return running_gateway(folder, "--upstream", upstream.base_url, **settings)


@pytest.fixture(scope="module")
def gateway(upstream: RunningUpstream, folder: Path) -> Iterator[Gateway]:
    with opened(folder, upstream) as running:
        running.wait("upstream", "semantic")
        yield running


def tenant(folder: Path, key: str) -> str:
    return tenant_of(load_secret(folder), key)


def labels(gateway: Gateway) -> int:
    counts = gateway.stats()["semantic"]["labels"].values()
    return sum(one["right"] + one["wrong"] for one in counts)


def taught(talk: Talk, vectors: int, *rest: str) -> None:
    """Ask the question and others, each when the one before has been settled."""
    for number, question in enumerate((QUESTION, *rest), start=1):
        assert talk.ask(question)[0] == "full"
        talk.gateway.wait_for(lambda stats: stats["vectors"], vectors + number)


def settle(gateway: Gateway) -> None:
    """Until no label is on its way any more."""
    known = -1
    while known != (known := labels(gateway)):
        time.sleep(0.2)


def first_hit(talk: Talk) -> str:
    """Ask for one thing after another, in one wording after another, until other words are served: its id."""
    for thing in THINGS:
        answer = f"Change the {thing} on the page called {thing}."
        for form in FORMS:
            vectors = talk.gateway.stats()["vectors"]
            tier, text, answer_id = talk.ask(form.format(thing), answer)
            if tier == "semantic":
                assert text == answer
                return answer_id
            talk.gateway.wait_for(lambda stats, known=vectors: stats["vectors"] > known, True)
    raise AssertionError("nothing was learned")


def test_shadow_never_serves_and_measures(gateway: Gateway, upstream: RunningUpstream, folder: Path) -> None:
    talk, me = Talk(gateway, upstream, "sk-shadow"), tenant(folder, "sk-shadow")
    assert talk.put(tenant=me, mode="shadow", max_wrong_hit_rate=0.5).status_code == 200
    before = labels(gateway)
    vectors = gateway.stats()["vectors"]
    taught(talk, vectors, *NEAR)
    assert talk.ask("Could you please tell me how I reset my password?")[0] == "full"  # the same in its bare form
    gateway.wait_for(lambda _: labels(gateway) >= before + 3, True)

    lane = talk.lane(me)
    assert (lane["mode"], lane["max_wrong_hit_rate"]) == ("shadow", 0.5)
    assert lane["labels"]["shadow"]["right"] >= 3
    assert lane["wrong_hit_rate"]["upper"] < 1
    assert "twicetold_wrong_hit_rate{bound=" in gateway.get("/metrics").text
    other = Talk(gateway, upstream, "sk-other").lane(tenant(folder, "sk-other"))
    assert other["labels"] == {}


def test_what_users_say_of_a_hit_is_a_label_and_makes_the_lane_stricter(
    gateway: Gateway, upstream: RunningUpstream, folder: Path
) -> None:
    talk, me = Talk(gateway, upstream, "sk-feedback"), tenant(folder, "sk-feedback")
    talk.put(tenant=me, max_wrong_hit_rate=0.5)
    answer_id = first_hit(talk)
    settle(gateway)
    before = talk.lane(me)["threshold"]
    row = next(row for row in gateway.get("/admin/api/requests").json()["data"] if row["id"] == answer_id)
    assert talk.similarity == f"{row['similarity']:.4f}"
    assert 0.5 < row["similarity"] < 1

    assert talk.feedback(answer_id, "bad").status_code == 200
    lane = talk.lane(me)
    assert lane["labels"]["feedback"] == {"right": 0, "wrong": 1}
    assert lane["threshold"] > before


def test_a_pair_the_judge_approves_is_an_exact_hit_next_time(
    gateway: Gateway, upstream: RunningUpstream, folder: Path
) -> None:
    talk = Talk(gateway, upstream, "sk-promotion")
    taught(talk, gateway.stats()["vectors"])
    promoted = gateway.stats()["semantic"]["promoted"]
    assert talk.ask(NEAR[0], LONGER)[:2] == ("full", LONGER)
    gateway.wait_for(lambda stats: stats["semantic"]["promoted"], promoted + 1)

    assert talk.ask(NEAR[0], "never said")[:2] == ("exact", ANSWER)
    assert talk.lane(tenant(folder, "sk-promotion"))["labels"]["judge"] == {"right": 1, "wrong": 0}


def test_a_last_turn_that_stands_alone_is_answered_for_another_history_and_the_hit_says_so(
    gateway: Gateway, upstream: RunningUpstream, folder: Path
) -> None:
    def ask(first: str, said: str, last: str) -> tuple[str, str]:
        messages = [("user", first), ("assistant", said), ("user", last)]
        body = {"model": "m", "messages": [{"role": role, "content": text} for role, text in messages]}
        headers = gateway.post(body, authorization="Bearer sk-talk").headers
        return headers["x-twicetold-tier"], headers["x-twicetold-reason"]

    upstream.control(mode="say:Madrid.")
    vectors = gateway.stats()["vectors"]
    assert ask("What is the capital of France?", "Paris.", "What is the capital city of Spain?")[0] == "full"
    gateway.wait_for(lambda stats: stats["vectors"], vectors + 1)

    other = ("Please tell me what the capital of France is", "It is Paris, on the Seine.")
    assert ask(*other, "What is the capital city of Spain?") == ("semantic", "other_history")
    assert ask(*other, "How many people live there?")[0] == "full"
    assert ask("What is the capital of Peru?", "Lima.", "What is the capital city of Spain?")[0] == "full"
    lanes = gateway.get("/admin/api/thresholds").json()["lanes"]
    assert "default,history=loose" in [lane["route"] for lane in lanes if lane["tenant"] == tenant(folder, "sk-talk")]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tenant": "t"}, "mode"),
        ({"tenant": "t", "mode": "loud"}, "mode"),
        ({"tenant": "t", "max_wrong_hit_rate": 2.0}, "max_wrong_hit_rate"),
        ({"tenant": "t", "mode": "on", "route": "nowhere"}, "route"),
        ({"verifier": "0009-9"}, "verifier"),
        ({"tenant": "a\0b", "mode": "on"}, "tenant"),
        ({"tenant": "t", "mode": "on", "colour": "red"}, "colour"),
    ],
)
def test_a_change_that_cannot_be_is_refused_by_field(
    gateway: Gateway, upstream: RunningUpstream, body: dict[str, Any], field: str
) -> None:
    refused = Talk(gateway, upstream, "sk-a").put(**body)

    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == field


def test_the_embedder_that_finds_meanings_gives_its_vectors_to_whoever_asks(gateway: Gateway) -> None:
    with gateway.openai("sk-vectors") as client:
        told = client.embeddings.create(model="all-MiniLM-L6-v2", input=[QUESTION, NEAR[0], "The moon is far away."])
    question, near, far = (one.embedding for one in told.data)

    assert sum(map(mul, question, question)) == pytest.approx(1, abs=1e-4)
    assert sum(map(mul, question, near)) > 0.8 > 0.3 > sum(map(mul, question, far))
    assert told.usage.prompt_tokens > 20


def test_every_metric_of_meanings_that_the_dashboard_draws_is_exported(
    gateway: Gateway, upstream: RunningUpstream
) -> None:
    talk = Talk(gateway, upstream, "sk-metrics")
    for question in (QUESTION, *NEAR):
        talk.ask(question)
    names = ("semantic", "wrong", "promotions", "index")
    exported = gateway.get("/metrics").text
    assert not_exported(exported, only=names) == set()
    of_engines = {"kv_blocks", "kv_tokens_total", "kv_miss_total", "draft_tokens_total", "tokens_total"}
    assert not_as_promised(exported, but=of_engines) == []
    assert undocumented(exported) == set()


def test_labels_and_what_they_taught_outlive_the_server(
    gateway: Gateway, upstream: RunningUpstream, folder: Path
) -> None:
    me = tenant(folder, "sk-shadow")
    before = Talk(gateway, upstream, "sk-shadow").lane(me)
    gateway.stop()
    with opened(folder, upstream) as again:
        again.wait("upstream", "semantic")
        after = Talk(again, upstream, "sk-shadow").lane(me)
    assert after["labels"] == before["labels"]
    assert after["mode"] == "on"  # a change at run time ends with the run
