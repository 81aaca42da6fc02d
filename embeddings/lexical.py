"""The bare form of a question: what is left when everything that cannot change the answer is gone.

Two texts with one bare form are one question, whatever an embedder says of them, or when none can read them:
politeness, greetings, question particles, articles, contractions, spelled numbers, units, traditional and full-width
characters are folded away; the words that remain keep their order. English and Chinese; other languages lose no more
than case and punctuation. Guards are still asked about a pair that was found this way. A text of which too little is
left, or that holds code, has no bare form (""): nothing may be found by it.
"""

import re
from functools import lru_cache

from embeddings.bare_chinese import bare_chinese
from embeddings.bare_english import bare_english
from embeddings.repairs import corrected
from embeddings.text import has_han, plain

VERSION = "bare1"  # keys of two versions never meet

_CODE = re.compile(r"```|[{}\\;]|\n\s|\t")
_MAX_CHARS = 4000  # beyond, a repeat is a copy


@lru_cache(maxsize=256)
def bare(text: str) -> str:
    """The question in its bare form; empty when it has none."""
    said = plain(text).strip()
    if len(said) > _MAX_CHARS or _CODE.search(said):
        return ""
    return bare_chinese(said) if has_han(said) else bare_english(corrected(said))
