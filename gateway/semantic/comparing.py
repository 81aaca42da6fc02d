"""Does a fresh answer say what a stored one says? True, False, or None where words and vectors do not tell.

Equal words are equal answers. Else the answers' vectors say whether they are clearly alike or clearly not, and the
guards that read statements (numbers, negation, opposites, names) must not refuse what looks alike; of short answers
such a refusal says that they differ. What lies between, and what the embedder cannot see whole, nobody knows here: it
gives no label, unless a judge is asked. A label that is wrong costs more than one that is missing: the target is one
hit in a hundred.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from unicodedata import normalize

import orjson

from backends.chat import Completion
from embeddings.base import Vector
from embeddings.guards import GUARDS

# Of rewritten sentences (gptcache_mock) 30 % are alike and 0.1 % unlike; of the nearest other question or problem of
# disfl_qa, spider, banking77, gsm_plus 0.5 % are alike; at 0.92 it would be 64 and 1.8 %.
ALIKE = 0.96  # cosine from which answers that no guard tells apart say the same
UNLIKE = 0.55  # cosine below which they do not
STATEMENT_GUARDS = ("script", "numbers", "negation", "antonyms", "names", "symbols", "expressions")
TELLING = ("numbers", "negation", "antonyms")  # of these, that short answers differ, not that one says more
MAX_CHARS = 8000  # a longer answer is more than an embedder sees
SHORT_WORDS = 40  # a longer answer may well differ in a number that nobody asked for

Embed = Callable[[str], Awaitable[Vector | None]]

_MARKS = ".,;:!?。，；：！？、\"'“”‘’`*#"  # at the ends of words; inside, and a minus anywhere, they mean something


async def same_answer(fresh: Completion, stored: Completion, embed: Embed) -> bool | None:
    """Whether the two say the same. What takes long is read in a thread."""
    seen = await asyncio.to_thread(beside, fresh, stored)
    if not isinstance(seen, tuple):
        return seen
    a, b, refusal = seen
    one, other = await embed(a), await embed(b)
    if one is None or other is None:
        return None
    return judged(float(one @ other), refusal)


def beside(fresh: Completion, stored: Completion) -> bool | tuple[str, str, str | None] | None:
    """What words tell; else the two statements, and the guard that tells them apart."""
    if has_equal_words(fresh, stored):
        return True
    a, b = statement(fresh), statement(stored)
    if a is None or b is None or max(len(a), len(b)) > MAX_CHARS:
        return None
    refusal = refused_by(a, b)
    if refusal in TELLING and max(len(words(a)), len(words(b))) <= SHORT_WORDS:
        return False
    return a, b, refusal


def judged(cosine: float, refusal: str | None) -> bool | None:
    """What a cosine and a guard's refusal of two answers say together."""
    if cosine < UNLIKE:
        return False
    return True if cosine >= ALIKE and refusal is None else None


def has_equal_words(a: Completion, b: Completion) -> bool:
    """Whether two answers differ in nothing but case, spaces and marks; of calls, in nothing but their ids."""
    return signature(a) == signature(b)


def signature(completion: Completion) -> bytes:
    """Equal for answers of equal words."""
    return orjson.dumps([_said(choice.message) for choice in completion.choices], option=orjson.OPT_SORT_KEYS)


def statement(completion: Completion) -> str | None:
    """The text of an answer that is a text and nothing else."""
    if len(completion.choices) != 1:
        return None
    message = completion.choices[0].message
    content = message.get("content")
    if not isinstance(content, str) or not content.strip() or message.get("tool_calls") or message.get("audio"):
        return None
    return content


def refused_by(a: str, b: str) -> str | None:
    """The first guard that tells two statements apart."""
    return next((name for name in STATEMENT_GUARDS if name in GUARDS and not GUARDS[name](a, b)), None)


def words(text: str) -> Sequence[str]:
    """The words of a text without case, and without the marks around them."""
    return [word for part in normalize("NFKC", text).casefold().split() if (word := part.strip(_MARKS))]


def _said(message: Any) -> list[Any]:
    calls = [call.get("function", call) for call in message.get("tool_calls") or ()]
    content = message.get("content")
    text = words(content) if isinstance(content, str) else content
    return [text, calls, message.get("function_call"), message.get("audio")]
