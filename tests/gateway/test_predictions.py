"""A near answer goes upstream as a prediction to the backends that were told so and whose API has the field."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from backends.chat import ChatRequest
from backends.errors import RequestRejected
from gateway.services.routing import router_of
from gateway.settings import load_settings
from tests.upstream import RunningUpstream, address, running_upstream


@pytest.fixture(scope="module")
def server() -> Iterator[RunningUpstream]:
    with running_upstream() as running:
        yield running


async def received(server: RunningUpstream, *backends: dict[str, Any], **params: Any) -> list[dict[str, Any]]:
    """The bodies that each backend is sent for a question with a near answer."""
    named = [
        {"name": f"b{number}", "url": address(server, one.get("flavour", "openai")), "models": [f"m{number}"], **one}
        for number, one in enumerate(backends)
    ]
    router = router_of(load_settings({"backends": named}, environ={}), [])
    await router.open()
    bodies = []
    for number in range(len(backends)):
        request = ChatRequest(f"m{number}", ({"role": "user", "content": "hi"},), params, near_answer="Hello.")
        async for _ in router.stream(await router.resolve(request.model, request.messages), request):
            pass
        bodies.append(server.app.received[-1])
    await router.close()
    return bodies


async def test_each_backend_is_told_by_itself_whether_to_predict(server: RunningUpstream) -> None:
    bodies = await received(server, {"prediction": True}, {"prediction": False}, {})
    assert [body.get("prediction") for body in bodies] == [{"type": "content", "content": "Hello."}, None, None]
    assert [body["model"] for body in bodies] == ["m0", "m1", "m2"]


@pytest.mark.parametrize(
    ("flavour", "has_them"),
    [("openai", True), ("azure", True), ("mistral", True), ("vllm", False), ("gemini", False), ("anthropic", False)],
)
async def test_a_flavour_without_predictions_is_never_sent_one(
    server: RunningUpstream, flavour: str, has_them: bool
) -> None:
    (body,) = await received(server, {"flavour": flavour, "prediction": True})
    assert ("prediction" in body) is has_them
    assert b"Hello." not in repr({**body, "prediction": None}).encode()


async def test_a_callers_own_prediction_is_not_replaced(server: RunningUpstream) -> None:
    own = {"type": "content", "content": "Mine."}
    bodies = await received(server, {"prediction": True}, {}, prediction=own)
    assert [body["prediction"] for body in bodies] == [own, own]


async def test_a_model_that_has_no_predictions_is_asked_without_and_the_callers_own_is_refused(
    server: RunningUpstream,
) -> None:
    named = {"name": "b", "url": address(server, "openai"), "models": ["refuses:prediction"], "prediction": True}
    router = router_of(load_settings({"backends": [named]}, environ={}), [])
    await router.open()
    before = server.app.counts["requests"]
    request = ChatRequest("refuses:prediction", ({"role": "user", "content": "hi"},), near_answer="Hello.")
    for _ in range(2):
        said = [delta async for delta in router.stream(await router.resolve(request.model), request)]
        assert any(delta.text for delta in said)
    assert server.app.counts["requests"] - before == 3  # refused once, and never asked that way again

    own = replace(request, params={"prediction": {"type": "content", "content": "Mine."}})
    with pytest.raises(RequestRejected) as refused:
        [delta async for delta in router.stream(await router.resolve(request.model), own)]
    assert refused.value.param == "prediction"
    await router.close()
