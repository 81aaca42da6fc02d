"""Questions that people might ask, as many as wanted, each with one meaning, and the same in other words.

Five places are filled by chance from long lists, so two questions share a place or two and their cosine is far from
that of a paraphrase.
"""

import random

THINGS = (
    "sourdough bread", "a fishing net", "a wooden table", "oil paint", "a guitar string", "copper wire", "green tea",
    "a paper kite", "beeswax candles", "a garden pond", "an old clock", "leather boots", "a stone wall", "wool yarn",
    "a bicycle chain", "apple cider", "a clay pot", "a wine cellar", "a fruit tree", "a kitchen knife", "a rope bridge",
    "silver jewellery", "a tin roof", "a cotton shirt", "goat cheese",
)  # fmt: skip
DEEDS = (
    "make", "repair", "clean", "store", "choose", "sell", "transport", "test", "measure", "decorate", "protect",
    "recycle", "weigh", "photograph", "insure", "label", "pack", "dry", "cool", "heat", "paint", "inspect", "replace",
    "preserve", "describe", "draw", "copy", "sort", "count", "wash", "polish", "cut", "join", "fold", "carry", "hang",
    "lift", "bury", "rent", "import",
)  # fmt: skip
PEOPLE = (
    "a nurse", "my grandfather", "a new teacher", "a sailor", "two students", "a young farmer", "an office worker",
    "a retired soldier", "a street musician", "a pastry chef", "a night guard", "a small hotel", "a taxi driver",
    "a beekeeper", "my neighbour", "a museum", "a football team", "an astronaut", "a blind person", "a carpenter",
    "the town council", "a tailor", "a shepherd", "a film crew", "a librarian",
)  # fmt: skip
PLACES = (
    "on a boat", "in the desert", "during winter", "at a village school", "near the airport", "in a shared flat",
    "high in the mountains", "on a rainy weekend", "a day before a wedding", "after a flood", "in a hospital ward",
    "on a train", "under a bridge", "in a tiny kitchen", "at the seaside", "in a tent", "during a power cut",
    "at a music festival", "in the rainforest", "behind a theatre", "in a cold attic", "on a tropical island",
    "in a crowded market", "at a petrol station", "in an underground car park",
)  # fmt: skip
LIMITS = (
    "without spending much money", "without waking the baby", "without any special tools", "without a car",
    "with only one hand", "without losing time at work", "without harming animals", "without electricity",
    "without breaking local rules", "while it is snowing", "using recycled materials", "with the help of children",
    "before the guests arrive", "by following an old recipe", "with a tight deadline", "without making any noise",
    "and teach it to others", "while saving water", "for a charity auction", "in front of a camera",
    "without getting sunburnt", "to win a competition", "after reading a book about it", "with a broken ladder",
    "without knowing the language",
)  # fmt: skip


def questions(count: int) -> list[str]:
    """Distinct questions, always the same ones."""
    draw = random.Random(7)  # nothing is secret here
    found: dict[str, None] = {}
    while len(found) < count:
        who, deed, what, where, how = (draw.choice(one) for one in (PEOPLE, DEEDS, THINGS, PLACES, LIMITS))
        found[f"How can {who} {deed} {what} {where} {how}?"] = None
    return list(found)


def reworded(question: str) -> str:
    """The same question in other words."""
    return question.replace("How can", "In what way can")


def reworded_anew(question: str) -> str:
    """Likewise."""
    return question.replace("How can", "How could")
