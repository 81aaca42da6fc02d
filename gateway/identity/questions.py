"""What a question leans on besides its own words. Pure, English and Chinese.

A semantic hit serves an answer to other words; that is only safe for a question that means the same wherever and
whenever it is asked. Deictic questions lean on the conversation ("and that one?"), volatile ones on the clock
("what is the weather today?").
"""

import re

_WORD = re.compile(r"[A-Za-z0-9']+|[㐀-鿿]")

# The world's, not the asker's: what is true of them is another thing tomorrow.
_ALWAYS_VOLATILE = re.compile(
    r"\b(weather|forecast|(stock|share) prices?|breaking news|live score|(?<!fake )news|price of (gold|oil|gas|bitcoin)"
    r"|(what|which) (time|day|date|year|month) is it|what time is it|what'?s the (time|date)( now)?)\b"
    r"|几点(?=了|$|[?？])|几号|星期几|天气|股价|汇率|新闻|[油金币房菜]价|(黄金|石油|汽油|猪肉|比特币)的?价格|此刻",
    re.IGNORECASE,
)
# They count where a sentence asks about them, and not where somebody tells what happened to him: "the card I ordered
# last week has not come". The first row counts in both.
_DAYS = re.compile(
    r"\b(today|tonight|tomorrow|this (afternoon|evening|weekend)|next (week|weekend|month|year))\b"
    r"|今天|今晚|今日|明天|下周|明年|这周末|本周末",
    re.IGNORECASE,
)
_MOMENTS = re.compile(
    r"\b(yesterday|now|nowadays|currently"
    r"|(?<!electric )(?<!alternating )(?<!direct )current(?! (density|source|flow))|latest|newest"
    r"|recent|recently|so far|this (morning|week|month|quarter|year)|last (week|weekend|month|year)|at the moment"
    r"|right away|exchange rates?)\b|^(what|how much)[^.?!]{0,20} price of\b"
    r"|昨天|现在|目前|当前|最新|最近|这周|本周|本月|这个月|今年|去年|上周",
    re.IGNORECASE,
)
_OWN = re.compile(r"\b(i|i'm|i've|i'd|im|my|me|we|our|us)\b|我", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.?!。？！;；\n])\s*")
_ASKS = re.compile(
    r"[?？]|^\W*(what|who|whom|whose|which|where|when|why|how|is|are|was|were|do|does|did|can|could|will|would|should|has"
    r"|have|tell|give|show|list|name|find)\b|[谁吗呢]|什么|多少|哪|几|怎|如何|为何",
    re.IGNORECASE,
)

# Whatever the three find in a text of ASCII has one of these in it, and looking for these takes a tenth of the time.
_TELLING = (
    "weather", "forecast", "price", "news", "score", " is it", "what's the ", "whats the ",
    "today", "tonight", "tomorrow", "this afternoon", "this evening", "this week", "next week", "next month",
    "next year", "yesterday", "now", "current", "latest", "newest", "recent", "so far", "this morning", "this month",
    "this quarter", "this year", "last week", "last month", "last year", "at the moment", "right away",
    "exchange rate",
)  # fmt: skip

_DEICTIC = re.compile(
    r"\b(it|its|this|that|these|those|they|them|their|theirs|he|him|his|she|her|hers|one|ones|former|latter"
    r"|above|previous|earlier|again|same|here|there|else|instead|more|also|too|continue|go on|proceed|carry on"
    r"|go ahead|elaborate|explain further|next|first|second|third|last|other|another|both|such|so)\b"
    r"|^(and|but|or|so|then|what about|how about|why( not)?|how so|really|yes|no|ok(ay)?|sure|right|thanks?)\b"
    r"|它|他|她|这|那|此|其|上面|前面|刚才|继续|接着|再|还有|另外|同样|一样|为什么[?？]?$|^呢|呢[?？]?$|然后",
    re.IGNORECASE,
)

_SELF_CONTAINED_WORDS = 4


def is_volatile(text: str) -> bool:
    """Whether the right answer may change by the hour or the day."""
    if text.isascii() and not _tells(text):
        return False
    if _ALWAYS_VOLATILE.search(text):
        return True
    sentences = [sentence for sentence in _SENTENCE.split(text) if sentence]
    return any(_is_of_the_moment(sentence) for sentence in sentences if len(sentences) == 1 or _ASKS.search(sentence))


def _tells(text: str) -> bool:
    lower = text.lower()
    return any(word in lower for word in _TELLING)


def _is_of_the_moment(sentence: str) -> bool:
    if _DAYS.search(sentence):
        return True
    return _MOMENTS.search(sentence) is not None and _OWN.search(sentence) is None


def is_deictic(text: str) -> bool:
    """Whether the text may point into the conversation before it, or is too short to stand alone."""
    return _DEICTIC.search(text) is not None or len(_WORD.findall(text)) < _SELF_CONTAINED_WORDS
