"""Questions whose pairs follow a rule of their own: what a device does matters, which device does not."""

import random
from collections.abc import Iterator

DEVICES = ("lamp", "heater", "radio", "printer", "camera", "kettle", "router", "drone", "oven", "fridge")
WISHES = ("reset", "sell", "clean", "update", "charge", "repair")
FORMS = ("How do I {wish} my {device}?", "How can I {wish} a {device}?", "What is the way to {wish} the {device}?")


def pairs(count: int, seed: int = 1) -> Iterator[tuple[str, str, bool]]:
    """Two questions, and whether one answer serves both: the same wish, whatever it is about."""
    draw = random.Random(seed)
    for _ in range(count):
        wish = draw.choice(WISHES)
        is_right = draw.random() < 0.5
        other = wish if is_right else draw.choice([one for one in WISHES if one != wish])
        a, b = draw.choice(FORMS), draw.choice(FORMS)
        yield (
            a.format(wish=wish, device=draw.choice(DEVICES)),
            b.format(wish=other, device=draw.choice(DEVICES)),
            is_right,
        )
