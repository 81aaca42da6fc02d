"""The rewriter that needs no model: it takes a last turn as it is, if that stands alone, and cannot do anything else.

What it cannot read in a last turn is what the history lends it in silence: "How much is breakfast in Paris?" means
another hotel after another question, and an order may still hold. So what the user said before has to be equal, turn by
turn: plain questions in what they are about, all else (orders, facts about the one who asks) to the letter. Histories
may differ in how questions were worded, in greetings, and in what was answered.

But "How old is Jordan?" is of whom the assistant named just before. So what was answered has to be equal, too, word by
word, where an answer has a word of the last turn in it, or the user asked before about a name in it.
"""

from collections import Counter

from embeddings.text import has_han
from gateway.identity.questions import is_volatile
from gateway.semantic.standalone import chinese, english
from gateway.semantic.standalone.talk import Talk, Topics


class ByRules:
    """English and Chinese; all else does not stand alone."""

    resolves = False

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()  # nobody is asked

    def flaw(self, talk: Talk) -> str | None:
        """Why the last turn does not stand alone; None: it does."""
        if is_volatile(talk.last):
            return "volatile"
        return chinese.flaw(talk.last) if has_han(talk.last) else english.flaw(talk.last)

    def topics(self, talk: Talk, /) -> Topics:
        """What the user said before, turn by turn, without what says nothing; what was answered, where it matters."""
        found = (_topics(text) for text in talk.asked)
        asked = tuple(words for words in found if words)
        language = chinese if has_han(talk.last) else english
        if not language.is_touched(talk.last, talk.asked, talk.said):
            return asked
        return (*asked, ("", *(" ".join(text.split()) for text in talk.said)))  # nothing asked begins with ""

    async def rewrite(self, talk: Talk, _tenant: str, /) -> str | None:
        """The last turn as it is."""
        return None if self.flaw(talk) is not None else talk.last


def _topics(text: str) -> tuple[str, ...]:
    language = chinese if has_han(text) else english
    if not language.is_plain(text):
        return (" ".join(text.split()),)
    words: tuple[str, ...] = language.topics(text)
    return words
