from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from backends.routing.prompt import Prompt
from backends.routing.shadow import Shadow

SIZE = 16


def prompt(*words: str) -> Prompt:
    """A prompt whose chunk keys are chains over words, as real ones are over texts."""
    chunks, chain = [], 0
    for word in "".join(words):
        chain = (chain * 31 + ord(word) + 1) % 2**61
        chunks.append(chain)
    return Prompt(tuple(chunks), len(chunks) * SIZE, SIZE)


def held(shadow: Shadow, asked: Prompt) -> dict[str, int]:
    return {name: parts[-1].chunks for name, parts in shadow.overlaps(asked).items()}


def test_a_prompt_is_found_as_far_as_it_begins_like_one_that_was_read() -> None:
    shadow = Shadow(10_000)
    shadow.hold("a", prompt("system", "first"))
    shadow.hold("b", prompt("system", "second"))

    assert held(shadow, prompt("system", "fine")) == {"a": 8, "b": 6}
    assert held(shadow, prompt("other")) == {}


def test_age_is_what_a_replica_has_read_since() -> None:
    shadow = Shadow(10_000)
    shadow.hold("a", prompt("system", "first"))
    shadow.hold("a", prompt("system", "other"))

    assert [(part.chunks, part.age) for part in shadow.overlaps(prompt("system", "first"))["a"]] == [
        (6, 0),
        (11, 5 * SIZE),
    ]


def test_what_was_not_there_is_forgotten_with_all_that_hangs_on_it() -> None:
    shadow = Shadow(10_000)
    for end in ("one", "two"):
        shadow.hold("a", prompt("system", "talk", end))
    shadow.hold("a", prompt("system", "else"))
    shadow.cut("a", prompt("system", "talk", "one"), 8)

    assert held(shadow, prompt("system", "talk", "two")) == {"a": 8}
    assert held(shadow, prompt("system", "else")) == {"a": 10}


def test_the_far_end_of_what_was_used_longest_ago_goes_first() -> None:
    shadow = Shadow(12 * SIZE)
    shadow.hold("a", prompt("system", "old"))
    shadow.hold("a", prompt("system", "newer"))

    assert held(shadow, prompt("system", "old")) == {"a": 7}
    assert held(shadow, prompt("system", "newer")) == {"a": 11}
    assert shadow.tokens("a") == 12 * SIZE


words = st.lists(st.sampled_from(["aa", "ab", "b", "abc", "c" * 5]), max_size=4).map(lambda parts: prompt(*parts))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), st.sampled_from("xyz"), words),
        st.tuples(st.sampled_from(["cut 0", "cut 2", "cut 5"]), st.sampled_from("xyz"), words),
        st.tuples(st.just("forget"), st.sampled_from("xyz"), words),
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(steps, st.sampled_from([4, 12, 1000]), st.sampled_from([3, 1000]))
def test_the_tree_says_what_a_set_of_prefixes_would(
    sequence: list[tuple[str, str, Prompt]], chunks: int, nodes: int
) -> None:
    shadow = Shadow(chunks * SIZE, nodes)
    plain: dict[str, set[int]] = {}
    for what, replica, asked in sequence:
        kept = plain.setdefault(replica, set())
        if what == "hold":
            shadow.hold(replica, asked)
            kept |= set(asked.chunks)
        elif what == "forget":
            shadow.forget(replica)
            kept.clear()
        else:
            shadow.cut(replica, asked, int(what[4:]))
            gone = set(asked.chunks[int(what[4:]) :])
            if gone & kept:
                kept -= {key for other in (p for _, _, p in sequence) for key in _below(other, gone)}
        check(shadow, chunks, nodes)
        for name, keys in plain.items():
            known = held(shadow, asked).get(name, 0)
            whole = next((n for n, key in enumerate(asked.chunks) if key not in keys), len(asked.chunks))
            assert known <= whole
            if chunks == nodes == 1000:
                assert known == whole


def _below(asked: Prompt, gone: set[int]) -> tuple[int, ...]:
    """The keys of a prompt from the first that is gone."""
    first = next((place for place, key in enumerate(asked.chunks) if key in gone), len(asked.chunks))
    return asked.chunks[first:]


def check(shadow: Shadow, most_chunks: int, most_nodes: int) -> None:
    sizes: dict[str, list[int]] = {}
    for node in shadow.nodes():
        assert node.held or node.children
        for name, part in node.held.items():
            assert 0 < part.count <= len(node.chunks)
            sizes.setdefault(name, []).append(part.count)
            parent = node.parent
            assert parent is not None
            if parent.parent is not None:  # the root is nobody's
                assert parent.held[name].count == len(parent.chunks)
                assert parent.held[name].used >= part.used
    for name, counts in sizes.items():
        assert shadow.tokens(name) == sum(counts) * SIZE <= most_chunks * SIZE
        assert len(counts) <= max(1, most_nodes)


def test_a_long_life_leaves_the_books_in_order() -> None:
    random, shadow = Random(7), Shadow(500 * SIZE, 120)
    talks = ["system" + "".join(random.choices("abcdef", k=40)) for _ in range(30)]
    for _ in range(1500):
        shadow.hold(random.choice("xyz"), prompt(random.choice(talks)[: random.randint(4, 46)]))
    check(shadow, 500, 120)
    for name in "xyz":
        shadow.forget(name)

    assert not list(shadow.nodes())
