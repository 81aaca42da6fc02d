"""Is the answer wanted in the same form: as JSON, in French, in one sentence, for a child?"""

import re
from dataclasses import dataclass
from functools import lru_cache

from embeddings.text import has_any, plain


@dataclass(frozen=True, slots=True)
class Wish:
    """A form an answer may be asked in. `pattern` is only tried where one of `cues` stands: it is the cheaper look."""

    name: str
    cues: tuple[str, ...]
    pattern: re.Pattern[str]


def _wish(name: str, cues: str, pattern: str = "") -> Wish:
    return Wish(name, tuple(cues.split()), re.compile(pattern or rf"\b(?:{'|'.join(map(re.escape, cues.split()))})\b"))


_TONGUES = (
    "english french german spanish italian portuguese russian chinese mandarin japanese korean arabic hindi dutch"
    " turkish polish latin greek hebrew swedish vietnamese thai"
)
# What an answer has to say, told in a sentence of its own behind a question or before it: who has such an answer kept
# means it for the others that ask the question alone. A cosine hardly sees it: python -m bench.attacks.collisions.
_DICTATED = (
    r"(?:(?<=[.?!:;] )|(?<=[.?!:;])|^)(?:(?:please|now|then|but|and|just|always|only) )?(?:"
    r"(?:say|claim|pretend|insist|state) (?:that|why|so|it|the|yes|no|there|they|we|he|she|you)\b"
    r"|(?:reply|answer|respond) (?:that|with|only|falsely|wrongly|as if|like|for|yes|no)\b"
    r"|tell (?:a lie|lies|the user|users|them|him|her|everyone|everybody|people|whoever)\b"
    r"|(?:give|make up|invent|write) (?:me )?(?:an?|the|some) "
    r"(?:wrong|false|incorrect|fake|misleading|made-up|invented)\b"
    r"|(?:ignore|disregard|forget) (?:that|this|what|all|any|the|everything|previous)\b)"
    r"|\bgive (?:me )?(?:an?|the|some) (?:wrong|false|incorrect|fake|misleading) (?:answer|reply|response)\b"
)
_WISHES = (
    _wish(
        "dictated",
        "say claim pretend insist state reply answer respond tell wrong false fake invent ignore disregard "
        "forget incorrect misleading made-up",
        _DICTATED,
    ),
    *(_wish(name, name) for name in ("json", "yaml", "xml", "csv", "html", "markdown", "essay", "tweet", "haiku")),
    *(_wish(name, name) for name in ("limerick", "sonnet", "diagram", "flowchart", "infographic")),
    _wish("chart", "chart graph", r"\b(?:as|in|into|make|draw|show) (?:an? )?(?:\w+ )?(?:chart|graph|plot)\b"),
    _wish("recipe", "recipe", r"\brecipe\b"),
    _wish("history", "history", r"\b(?:give|write|tell)(?: me)? an? (?:\w+ )?history\b"),
    _wish("post", "post", r"\b(?:write|draft|compose)(?: me)? (?:an?|the) (?:\w+ )?(?:post|caption)\b"),
    _wish("message", "message", r"\b(?:write|draft|compose|send)(?: me)? (?:an?|the) (?:\w+ )?(?:message|text|sms)\b"),
    _wish("speech", "speech", r"\b(?:write|draft|give)(?: me)? (?:an?|the) (?:\w+ )?speech\b"),
    _wish("yes or no", "yes", r"\byes or no\b"),
    _wish("one word", "word", r"\b(?:in|as) (?:one|1|a single) word\b"),
    _wish("outline", "outline bullet checklist", r"\boutline\b|\bchecklist\b"),
    _wish("pros", "debate dialogue", r"\b(?:write|make)(?: me)? (?:an? )?(?:debate|dialogue)\b"),
    _wish("short sms", "微信 短信", "写[^,.!?]{0,20}(?:微信|短信)"),
    _wish("prose", "散文 作文 文章 游记 日记", "写[^,.!?]{0,20}(?:散文|作文|文章|游记|日记)"),
    _wish("list", "清单", "列[^,.!?]{0,20}清单"),
    _wish("speech", "演讲稿", "演讲稿"),
    _wish(
        "table",
        "table tabular",
        r"\b(?:as|in|into|with|using|make|draw) (?:an? (?:markdown |html |simple |small )?)?table\b|\btabular\b",
    ),
    _wish("table", "表格", "表格"),
    _wish(
        "bullets", "bullet list", r"\bbullet(?:ed|s| points?| list)?\b|\bas a(?: numbered)? list\b|\bnumbered list\b"
    ),
    _wish("bullets", "要点 列表形式", "要点|列表形式"),
    _wish(
        "code",
        "code",
        r"\bwrite (?:me )?(?:\w+ ){0,2}code\b|\b(?:with|show)(?: me)?(?: some| the)? code\b"
        r"(?=$|[.,?!;:]| (?:for|to|in|that|which|examples?|samples?|snippets?)\b)",
    ),
    _wish("code", "code", r"\bcode (?:example|snippet|sample)s?\b"),
    _wish("code", "代码", "代码"),
    _wish("steps", "step 逐步 一步一步", r"\bstep[ -]by[ -]step\b|逐步|一步一步"),
    _wish("poem", "poem"),
    _wish("poem", "诗", "写[^,.!?]{0,20}诗(?!人|词大会)"),
    _wish("story", "story", r"\b(?:write|tell|make)(?: me)? (?:up )?a (?:\w+ )?story\b"),
    _wish("mail", "mail letter", r"\b(?:write|draft|compose)(?: me)? (?:an?|the) (?:\w+ )?(?:e-?mail|letter)\b"),
    _wish("mail", "邮件", "写[^,.!?]{0,20}邮件"),
    _wish("summary", "summar tldr tl;dr", r"\bsummar(?:y|i[sz]e|i[sz]ing)\b|\btl;?dr\b"),
    _wish("summary", "总结 概括 摘要", "总结|概括|摘要"),
    _wish("translation", "translat 译", r"\btranslat(?:e|ion|ing)\b|翻译|译[成为作]"),
    _wish("rewriting", "rewrite rephrase paraphrase proofread"),
    _wish("rewriting", "改写 润色", "改写|润色"),
    _wish("example", "example", r"\bwith (?:an |some )?examples?\b|\bgive (?:me )?(?:an |some )?examples?\b"),
    _wish("example", "举例", "举例"),
    _wish("one sentence", "sentence", r"\b(?:in|as) (?:an?|one|1|a single) (?:\w+ )?sentence\b|\bone-sentence\b"),
    _wish("one sentence", "一句话", "一句话"),
    _wish("paragraph", "paragraph", r"\b(?:in|as|one|an?) (?:\w+ )?paragraphs?\b"),
    _wish("short", "brief concise", r"\bbrief(?:ly)?\b|\bconcise(?:ly)?\b"),
    _wish("short", "short", r"\bin short\b|\bshort (?:answer|explanation|description|version|overview)\b"),
    _wish("short", "简短 简要 简洁 简单", "简短|简要|简洁|简单(?:介绍|说明|说)"),
    _wish("long", "detail depth", r"\bin (?:\w+ )?detail\b|\bin[- ]depth\b"),
    _wish(
        "long",
        "detailed comprehensive thorough",
        r"\b(?:give|write|provide|create|make|want|need|explain|draft|prepare|describe|show)\b.{0,40}"
        r"\b(?:detailed|comprehensive(?:ly)?|thorough(?:ly)?)\b",
    ),
    _wish("long", "详细 深入", "详细|深入"),
    _wish("simple", "eli5 like", r"\beli5\b|\blike i(?:'m| am) (?:five|5|a child)\b"),
    _wish(
        "simple",
        "simple plain layman",
        r"\bin (?:simple|plain|layman'?s?) (?:terms|words|english|language)\b|\b(?:explain|put) (?:it |this )?simply\b",
    ),
    _wish("technical", "technical", r"\bin technical (?:terms|language|detail)\b|\btechnically\b"),
    _wish(
        "simple",
        "year child kid beginner dummies layman newbie novice",
        r"\b(?:for|to) (?:an? |my |the )?(?:complete |total )?"
        r"(?:\w+[ -]year[ -]olds?|child(?:ren)?|kids?|beginners?|dummies|laym[ae]n|newbies?|novices?)\b",
    ),
    _wish(
        "simple",
        "小孩 孩子 小朋友 儿童 初学者 通俗",
        "[给向对].{0,6}(?:小孩|孩子|小朋友|儿童|初学者)|通俗",
    ),
    _wish("expert", "expert professional phd", r"\b(?:for|to) (?:an? )?(?:\w+ )?(?:expert|professional|phd)s?\b"),
    _wish("formal", "formal 正式", r"\bformal(?:ly)?\b|正式"),
    _wish("funny", "funny humor humour joke"),
    _wish("in chinese", "中文 汉语", "[用成以](?:中文|汉语)"),
    _wish("in english", "英文 英语", "[用成以]英[文语]"),
    _wish("in french", "法文 法语", "[用成以]法[文语]"),
    _wish("in japanese", "日文 日语", "[用成以]日[文语]"),
)
_BY_CUE = tuple((cue, n) for n, wish in enumerate(_WISHES) for cue in wish.cues)
_TONGUE_NAMES = tuple(_TONGUES.split())
_TONGUE = _TONGUES.replace(" ", "|")
_IN_TONGUE = re.compile(
    rf"\b(?:answer|reply|respond|write|explain|translate|summari[sz]e|rewrite|describe|poem|essay|story|mail|letter|text|"
    rf"article|sentence|paragraph|it|this|that|me)\b.{{0,60}}? (?:in|into|to) (?:simple |plain |fluent )?({_TONGUE})\b"
    rf"(?! \w+ed\b)|^in ({_TONGUE})\b"
)
_FROM_TONGUE = re.compile(rf"\bfrom ({_TONGUE})\b")
_ANY_TONGUE = re.compile(rf"\b({_TONGUE})\b")
# "To a biologist", "like I'm an economist": two texts that name their readers name the same ones.
_AUDIENCE = re.compile(
    r"\b(?:explain|describe|teach|present|introduce)\b.{1,80}? (?:to|for) (?:an? |my |the )([\w -]{2,40}?)(?=$|[.,?!;])"
    r"|\blike i(?:'m| am) (?:an? )?([\w -]{1,40}?)(?=$|[.,?!;])"
)
_TELLS = ("explain", "describe", "teach", "present", "introduce", "like i")
_YEARS = re.compile(r"\b(?:\d+|\w+)[ -]years?[ -]olds?\b")


def same_form(a: str, b: str) -> bool:
    """Refuse when one text asks for a form, language, length or audience of the answer that the other does not."""
    return wishes(a) == wishes(b) and _same_readers(a, b) and _same_tongues(a, b)


def _same_tongues(a: str, b: str) -> bool:
    """Whether a language that one text wants its answer in, or gives its text in, is named in the other."""
    (into_a, from_a, any_a), (into_b, from_b, any_b) = _tongues(a), _tongues(b)
    return into_a <= any_b and into_b <= any_a and not (into_a & from_b or into_b & from_a)


@lru_cache(maxsize=1024)
def _tongues(text: str) -> tuple[set[str], set[str], set[str]]:
    lowered = plain(text).lower()
    named = set(_ANY_TONGUE.findall(lowered)) if has_any(lowered, _TONGUE_NAMES) else set()
    if not named:
        return named, named, named
    wanted = {one or other for one, other in _IN_TONGUE.findall(lowered)}
    return wanted, set(_FROM_TONGUE.findall(lowered)), named


def _same_readers(a: str, b: str) -> bool:
    readers_a, readers_b = _readers(a), _readers(b)
    return not readers_a or not readers_b or readers_a == readers_b


@lru_cache(maxsize=1024)
def _readers(text: str) -> set[str]:
    """Of a group of words the last one counts; ages are numbers, and compared as such."""
    lowered = plain(text).lower()
    if not has_any(lowered, _TELLS):
        return set()
    found = _AUDIENCE.findall(lowered)
    said = ("child" if _YEARS.search(one) else one for pair in found for one in pair if one)
    return {
        "child" if word in ("five", "5", "kid", "kids", "children") else word for word in (s.split()[-1] for s in said)
    }


@lru_cache(maxsize=1024)
def wishes(text: str) -> frozenset[str]:
    """The forms that a text asks its answer in."""
    lowered = plain(text).lower()
    cued = [_WISHES[n] for n in {n for cue, n in _BY_CUE if cue in lowered}]
    return frozenset([wish.name for wish in cued if wish.pattern.search(lowered)])
