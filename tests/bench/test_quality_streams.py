"""Streams are walked as a cache would see them; vCache's policy is what its paper describes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from bench.quality import plot
from bench.quality.memo import Remembering
from bench.quality.policies import FixedCosine, Served
from bench.quality.readings import Readings, readings_of
from bench.quality.streams import Asked, Stream
from bench.quality.vcache import VCache, explore
from bench.quality.walk import Learned, Question, tally_of, walk
from embeddings.base import Reading
from embeddings.control import Neighbour
from embeddings.hashing import HashingEmbedder
from embeddings.verifier.model import conservative

ASKED = (
    Asked("what is a block table", "table"),
    Asked("what is a block table", "table"),  # the same words
    Asked("please tell me what a block table is", "table"),
    Asked("how do I wash a wool coat", "coat"),
    Asked("what is a block table", "other", scope="elsewhere"),
)


@dataclass
class Asks:
    """Serves nothing and notes what it was asked."""

    asked: list[str] = field(default_factory=list)
    learned: list[Sequence[bool]] = field(default_factory=list)

    def choose(self, question: Question) -> int | None:
        self.asked.append(question.reading.text)
        return None

    def learn(self, question: Question, is_right: Sequence[bool]) -> Learned:
        self.learned.append(is_right)
        return Learned()


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> Readings:
    return readings_of([one.text for one in ASKED], HashingEmbedder(), tmp_path_factory.mktemp("readings"))


def test_a_repeat_is_served_before_a_policy_is_asked(readings: Readings) -> None:
    policy = Asks()
    tally = tally_of(walk(Stream("t", ASKED, readings, "f"), ASKED, policy))

    assert (tally.prompts, tally.answerable, tally.repeats) == (5, 2, 1)
    assert policy.asked == [ASKED[2].text, ASKED[3].text]


def test_scopes_never_meet_and_labels_follow_classes(readings: Readings) -> None:
    policy = Asks()
    tally_of(walk(Stream("t", ASKED, readings, "f"), ASKED, policy))

    assert [sorted(one) for one in policy.learned] == [[True], [False, False]]


def test_an_equal_bare_form_is_the_lanes_to_decide_and_its_outcome_a_label() -> None:
    asked = [Asked("what is the block table", "a"), Asked("what is the block table please", "b")]
    stream = _stream(asked)
    first = Remembering(conservative(), stream.memo)
    served, shy = Served(first, 0.01), Served(first, 0.0001)

    assert [one.how for one in walk(stream, asked, served, served)] == ["generated", "wording"]
    assert [one.how for one in walk(stream, asked, shy, shy)] == ["generated", "generated"]
    assert dict(shy.lane.report().labels) == {"shadow": 1}


def test_what_the_product_would_not_look_at_is_not_served() -> None:
    asked = [Asked("what is the weather in Rome today", "a"), Asked("what's the weather in Rome today", "a")]
    stream = _stream(asked)
    policy = Served(Remembering(conservative(), stream.memo), 0.01)

    assert [one.how for one in walk(stream, asked, policy, policy)] == ["generated", "generated"]
    assert tally_of(walk(stream, asked, FixedCosine(0.5))).near == 1


def test_an_entry_of_vcache_needs_six_labels() -> None:
    policy, question = VCache(0.5), Question(_reading("a"), [_neighbour("b")])
    served = []
    for _ in range(30):
        served.append(policy.choose(question))
        policy.learn(question, [True])

    assert served[:6] == [None] * 6


def test_vcache_generates_less_the_nearer_and_the_laxer() -> None:
    seen = [(0.95, True)] * 10 + [(0.6, False)] * 10

    assert explore(seen, 0.99, 0.05) < explore(seen, 0.7, 0.05)
    assert explore(seen, 0.99, 0.2) <= explore(seen, 0.99, 0.01)


def test_a_plot_is_one_svg_of_all_panels() -> None:
    drawn = plot.svg({"a<b": {"lane": [(0.1, 0.01)]}, "c": {"cosine": [(0.2, 0.3)]}})

    assert drawn.startswith("<svg")
    assert "a&lt;b" in drawn
    assert drawn.count("<polyline") == 2


def _stream(asked: Sequence[Asked]) -> Stream:
    return Stream("t", asked, {one.text: _reading(one.text) for one in asked}, "f")


def _neighbour(text: str) -> Neighbour:
    return Neighbour(text, _reading(text), 0.95, text.encode())


def _reading(text: str) -> Reading:
    return HashingEmbedder().read([text])[0]
