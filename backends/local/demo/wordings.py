"""Other ways to word a question, made up while training so that the model listens to the words that matter.

A wording keeps its meaning: openers of one kind trade places ("what is X" and "tell me about X", never "why X"), a word
may become its synonym, a politeness comes before or after. Then small accidents happen to it: articles or a word fall
out, two words or letters trade places, the punctuation changes. About one question in four stays as it was written.
Case plays no part: the chat template writes questions in lower case.
"""

import random
import re

# Openers that ask for the same thing. `{}` is what is asked about.
OPENERS = (
    (
        "what is {}",
        "what's {}",
        "what are {}",
        "explain {}",
        "tell me about {}",
        "describe {}",
        "define {}",
        "can you explain {}",
        "could you describe {}",
        "what exactly is {}",
        "what do you know about {}",
        "help me understand {}",
        "i want to know about {}",
        "give me a short explanation of {}",
        "what is meant by {}",
        "what does {} mean",
    ),
    (
        "how do i {}",
        "how can i {}",
        "how do you {}",
        "how to {}",
        "how would i {}",
        "how should i {}",
        "show me how to {}",
        "tell me how to {}",
        "i want to {}",
        "i need to {}",
        "what is the way to {}",
        "what is the best way to {}",
        "is there a way to {}",
        "what do i do to {}",
    ),
    (
        "how does {} work",
        "how do {} work",
        "explain how {} works",
        "how exactly does {} work",
        "walk me through how {} works",
        "what is the mechanism behind {}",
    ),
    ("can i {}", "is it possible to {}", "may i {}", "am i able to {}", "can you {}", "could i {}"),
    ("does twicetold {}", "can twicetold {}", "will twicetold {}", "is twicetold able to {}", "does it {}"),
)
SYNONYMS = (
    ("llm", "language model", "large language model"),
    ("reply", "response", "answer"),
    ("request", "call"),
    ("question", "query"),
    ("fast", "quick"),
    ("faster", "quicker"),
    ("turn off", "disable", "switch off"),
    ("turn on", "enable", "switch on"),
    ("choose", "pick", "select"),
    ("delete", "remove"),
    ("use", "make use of"),
    ("happens", "goes on"),
    ("stored", "kept", "saved"),
    ("difference", "distinction"),
    ("good for", "useful for"),
    ("bad", "wrong"),
    ("start", "launch"),
    ("show", "display"),
    ("set", "configure"),
    ("big", "large"),
    ("cost", "price"),
    ("twicetold", "the gateway", "this gateway"),
)
BEFORE = (
    "please",
    "hi,",
    "hello,",
    "hey,",
    "ok,",
    "so",
    "quick question:",
    "can you tell me",
    "i wonder",
    "and",
    "also,",
)
ARTICLES = ("a", "an", "the")
AFTER = ("please", "exactly", "in short", "thanks", "in simple words", "briefly", "here", "then", "for me")


def reword(text: str, rng: random.Random) -> str:
    """Another wording of `text`, or `text` itself."""
    if rng.random() < 0.25:
        return text
    words = _swap_synonym(_swap_opener(text, rng), rng) if rng.random() < 0.7 else text
    words = _accident(words, rng) if rng.random() < 0.5 else words
    return _dress(words, rng)


def plain(text: str) -> str:
    """`text` without case and punctuation, to tell whether two wordings are the same."""
    return re.sub(r"[^\w-]+", " ", text.lower()).strip()


def _swap_opener(text: str, rng: random.Random) -> str:
    bare = text.rstrip("?!. ")
    for group in OPENERS:
        for opener in group:
            found = re.fullmatch(re.escape(opener).replace(r"\{\}", "(.+)"), bare, re.IGNORECASE)
            if found:
                return rng.choice(group).replace("{}", found[1])
    if len(bare.split()) <= 3 and rng.random() < 0.5:  # a bare topic
        return rng.choice(OPENERS[0]).replace("{}", bare)
    return text


def _swap_synonym(text: str, rng: random.Random) -> str:
    for group in SYNONYMS:
        for word in group:
            pattern = rf"\b{re.escape(word)}\b"
            if re.search(pattern, text, re.IGNORECASE) and rng.random() < 0.5:
                text = re.sub(pattern, rng.choice(group), text, count=1, flags=re.IGNORECASE)
                break
    return text


def _accident(text: str, rng: random.Random) -> str:
    words = text.split()
    if len(words) < 4:
        return text
    at = rng.randrange(len(words) - 1)
    kind = rng.random()
    if kind < 0.2:
        words = [word for word in words if word.lower() not in ARTICLES]
    elif kind < 0.45:
        del words[at]
    elif kind < 0.6:
        words[at], words[at + 1] = words[at + 1], words[at]
    elif kind < 0.75:
        rng.shuffle(words)
    else:
        words[at] = _misspell(words[at], rng)
    return " ".join(words)


def _misspell(word: str, rng: random.Random) -> str:
    if len(word) < 5:
        return word
    at = rng.randrange(1, len(word) - 2)
    kind = rng.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _dress(text: str, rng: random.Random) -> str:
    if rng.random() < 0.15:
        text = f"{rng.choice(BEFORE)} {text}"
    if rng.random() < 0.1:
        text = f"{text.rstrip('?!. ')} {rng.choice(AFTER)}?"
    if rng.random() < 0.3:
        text = text.rstrip("?!. ") + rng.choice(("", "", "?", "??", ".", "!", " ?"))
    return text
