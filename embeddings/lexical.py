"""The bare form of a question: what is left when everything that surely cannot change the answer is gone.

Two texts with one bare form are one question, whatever an embedder says of them, or when none can read them: it is
served from a cold start, before anybody has seen whether that is right. So in doubt all stays. Politeness, greetings,
contractions, spelled numbers, the end mark, traditional and full-width characters are folded away; the words that
remain keep their order and their case. English and Chinese; other languages lose no more than the end mark. Guards are
still asked about a pair that was found this way. A text of which too little is left, or that holds code, has no bare
form (""): nothing may be found by it.
"""

import re
from functools import lru_cache

from embeddings.bare_chinese import bare_chinese
from embeddings.bare_english import bare_english
from embeddings.repairs import corrected
from embeddings.text import has_han, plain

VERSION = "bare6"  # raise it with every change of what is folded: keys are kept on disk

_CODE = re.compile(r"```|[{}\\;]|\n\s|\t")
# Folding would lose what is asked about: the script of a character, a power, a circled digit.
_OF_SCRIPT = re.compile(
    r"[⁰ⁱ⁴-ⁿ₀-₎①-⓿½¼¾\ue100]|简体|繁体|繁體|簡體|全角|半角|笔画|筆畫|traditional|simplified|full-?width|unicode|character",
    re.IGNORECASE,
)
_MAX_CHARS = 4000  # beyond, a repeat is a copy


@lru_cache(maxsize=256)
def bare(text: str) -> str:
    """The question in its bare form; empty when it has none."""
    said = plain(text).strip()
    if len(said) > _MAX_CHARS or _CODE.search(said) or not (text.isascii() or _OF_SCRIPT.search(text) is None):
        return ""
    return bare_chinese(said) if has_han(said) else bare_english(corrected(said))
