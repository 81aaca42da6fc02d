"""The rewriter that needs no model: it takes a last turn as it is, if that stands alone, and cannot do anything else.

What it cannot read in a last turn is what the history lends it in silence: "How much is breakfast in Paris?" means
another hotel after another question. So every turn before has to be a plain question, too, and what was asked about,
turn by turn, has to be equal on both sides: histories may differ in their wording and in what was answered.
"""

from embeddings.text import has_han
from gateway.questions import is_volatile
from gateway.semantic.standalone import chinese, english
from gateway.semantic.standalone.talk import Talk, Topics


class ByRules:
    """English and Chinese; all else does not stand alone."""

    resolves = False

    def flaw(self, talk: Talk) -> str | None:
        """Why the last turn does not stand alone here; None: it does."""
        if is_volatile(talk.last):
            return "volatile"
        found = chinese.flaw(talk.last) if has_han(talk.last) else english.flaw(talk.last)
        if found is not None:
            return found
        return None if all(_is_plain(text) for text in talk.asked) else "history"

    def topics(self, talk: Talk, /) -> Topics:
        """What every turn of the user was about, those that were about nothing left out."""
        found = (chinese.topics(text) if has_han(text) else english.topics(text) for text in talk.asked)
        return tuple(words for words in found if words)

    async def rewrite(self, talk: Talk, _tenant: str, /) -> str | None:
        """The last turn as it is."""
        return None if self.flaw(talk) is not None else talk.last


def _is_plain(text: str) -> bool:
    return chinese.is_plain(text) if has_han(text) else english.is_plain(text)
