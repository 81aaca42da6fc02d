"""Messages arrive as they were sent, wherever the bytes were cut."""

from hypothesis import given
from hypothesis import strategies as st

from backends.local.params import Sampling
from backends.local.wire import Abort, Admitted, FrameDecoder, Message, Stats, Submit, Token, Tokens, encode

MESSAGES: list[Message] = [
    Submit(7, [1, 2, 3], 20, Sampling(seed=3, logit_bias=((5, -1.0),)), n=2, salt="tenant"),
    Abort(7),
    Admitted(7, 0, 64),
    Tokens(7, 1, [97, 98]),
    Token(7, 1, 99, "stop", -0.5, ((1, -0.1),)),
    Stats(running=1, kv={"blocks_total": 5}),
]


def as_lists(messages: list[Message]) -> list[bytes]:
    """JSON knows no tuples, so compare what is written."""
    return [encode([message]) for message in messages]


@given(st.lists(st.integers(1, 40)))
def test_frames_survive_any_cut(sizes: list[int]) -> None:
    stream = encode(MESSAGES[:2]) + encode([]) + encode(MESSAGES[2:])
    decoder = FrameDecoder()
    received: list[Message] = []
    for size in [*sizes, len(stream)]:
        received += decoder.feed(stream[:size])
        stream = stream[size:]

    assert as_lists(received) == as_lists(MESSAGES)
