"""What a question leans on besides its own words. Pure, English and Chinese.

A semantic hit serves an answer to other words; that is only safe for a question that means the same wherever and
whenever it is asked. Deictic questions lean on the conversation ("and that one?"), volatile ones on the clock
("what is the weather today?").
"""

import re

_WORD = re.compile(r"[A-Za-z0-9']+|[㐀-鿿]")

_VOLATILE = re.compile(
    r"\b(today|tonight|tomorrow|yesterday|now|nowadays|currently|current|latest|newest|recent(ly)?|so far"
    r"|this (morning|afternoon|evening|week|weekend|month|quarter|year)|(next|last) (week|weekend|month|year)"
    r"|(what|which) (time|day|date|year|month) is it|right away|at the moment"
    r"|weather|forecast|stock price|share price|exchange rate|price of|breaking|news|live score)\b"
    r"|今天|今晚|今日|明天|昨天|现在|目前|当前|最新|最近|此刻|这周|本周|本月|这个月|今年|明年|去年|上周|下周"
    r"|几点|几号|星期几|天气|股价|汇率|新闻|价格",
    re.IGNORECASE,
)

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
    return _VOLATILE.search(text) is not None


def is_deictic(text: str) -> bool:
    """Whether the text may point into the conversation before it, or is too short to stand alone."""
    return _DEICTIC.search(text) is not None or len(_WORD.findall(text)) < _SELF_CONTAINED_WORDS
