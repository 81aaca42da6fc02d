"""What another model answered is said, delivered, and never kept as the answer of the model that was asked for."""

from collections.abc import Iterator
from pathlib import Path

from backends.errors import BackendUnavailable
from backends.fake import ScriptedBackend, Step, say
from backends.routing.aliases import Alias
from gateway.outcome import headers_of
from tests.gateway.house import house

DOWN = BackendUnavailable("nobody is there", retryable=False)


def spare() -> ScriptedBackend:
    return ScriptedBackend(say("from the spare model"), name="spare", model_names=["spare"])


async def test_an_answer_of_a_fallback_says_so_and_is_not_kept(tmp_path: Path) -> None:
    scripts: Iterator[list[Step]] = iter([[DOWN], [DOWN], [*say("from the first model")]])
    first = ScriptedBackend(lambda _: next(scripts))
    async with house(tmp_path, first, others=[spare()], aliases=[Alias("scripted", fallback=("spare",))]) as gateway:
        outcome, said = await gateway.chat("Who answers?")
        again, _ = await gateway.chat("Who answers?")
        back, own = await gateway.chat("Who answers?")
        repeat, _ = await gateway.chat("Who answers?")

    assert (outcome.tier, outcome.reason, outcome.fallback, outcome.entry) == ("full", "fallback", "spare", None)
    assert dict(headers_of(outcome))[b"x-twicetold-fallback"] == b"spare"
    assert said.text == "from the spare model"
    assert again.reason == "fallback"
    assert (back.reason, own.text, repeat.tier) == ("miss", "from the first model", "exact")
