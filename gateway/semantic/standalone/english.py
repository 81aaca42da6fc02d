"""Which English last turns stand alone, and which turns before them leave no trace. In doubt: not this one.

A turn stands alone when nothing in it points anywhere (`gateway.identity.questions`), nobody in the conversation is
in it, it compares with nothing unsaid, every "the" is complete inside it, and it names what it is about. A turn before
it leaves no trace when it is a plain question: no order that may still hold, nothing about the one who asks.
"""

import re
from collections.abc import Sequence
from unicodedata import combining, normalize

from embeddings.lexical import bare
from embeddings.text import CARRIES_NO_MEANING, plain, stem, word_set, words
from gateway.identity.questions import is_deictic
from gateway.semantic.standalone.places import ENGLISH as PLACES

MAX_CHARS = 300

_ASKS = "what|who|whom|whose|which|when|where|why|how"
_QUESTION = re.compile(
    rf"^(?:(?:in|on|at|for|from|to|of|by|with|under|during) (?:{_ASKS})|{_ASKS}|is|are|was|were|do|does|did|can|could"
    r"|has|have|had|will|would|should|explain|describe|define|name|list)\b",
    re.IGNORECASE,
)
_WRAPPED = re.compile(
    r"^(?:(?:can|could|would|will) you (?:please )?|do you know |please )(?:(?:tell me|explain to me) )?", re.IGNORECASE
)
_FOLLOWS = re.compile(r"^(?:and|but|so|or|then|also|ok(?:ay)?|what about|how about)\b,? ?", re.IGNORECASE)
# No "okay" and no "great": they may say yes to what was offered.
_GREETING = re.compile(
    r"^(?:hi|hello|hey|good (?:morning|evening|afternoon)|thanks?(?: you)?(?: (?:so|very) much| a lot)?|bye|goodbye)"
    r"(?: there)?(?:,? (?:thanks|thank you))?[.!]*$",
    re.IGNORECASE,
)
_PERSON = re.compile(
    r"\b(?:[Ii]|[Mm]e|[Mm]y|[Mm]ine|[Mm]yself|[Ww]e|us|[Oo]ur|[Oo]urs|[Yy]ou|[Yy]ours?|[Yy]ourself|[Ll]et's)\b"
)
# What is left to a text, a choice or a remark that stands elsewhere.
_ELSEWHERE = re.compile(
    r"\b(?:mentioned|discussed|described|listed|given|provided|said|told|following|below|earlier|aforementioned"
    r"|conversation|rewrite|rephrase|paraphrase|translate|summari[sz]e|shorten|expand|revise|rework|improve|correct|fix"
    r"|edit|convert|replace|remove|different|similar|alternative|alternatives|equivalent|besides|likewise|too|either"
    r"|neither|rest|remaining|others|someone|somebody|anything|everything|something|anyone|everyone|otherwise|exactly"
    r"|apart from|except|respectively|vice versa|another|any|each|every|all|local|nearby|nearest|closest|typical"
    r"|usual)\b",
    re.IGNORECASE,
)
_COMPARES = re.compile(
    r"\b(?:better|worse|cheaper|faster|slower|bigger|larger|smaller|older|younger|newer|higher|lower|taller|shorter|longer"
    r"|easier|harder|stronger|weaker|safer|earlier|later|less|fewer|rather|further|farther|compare[ds]?|comparison"
    r"|difference|differ|versus|vs)\b",
    re.IGNORECASE,
)
_BOTH_SIDES = re.compile(r"\bthan\b|\bbetween\b.+\band\b|\bvs\b|\bversus\b|\bcompare[ds]? (?:to|with)\b", re.IGNORECASE)
_ORDERS = re.compile(
    r"\b(?:from now on|always|never|only|answer|reply|respond|act|pretend|imagine|assume|suppose|role.?play|speak|talk"
    r"|brief|briefly|short|shortly|concise|detail|detailed|words?|sentences?|paragraphs?|bullets?|points?|json|yaml|xml"
    r"|markdown|tables?|csv|format|style|tone|poem|rhyme|limerick|haiku|story|remember|ignore|forget|stop|instead"
    r"|beginners?|kids?|child|children|expert|student|simple terms|simply|like i|step by step|game|quiz|hypothetical"
    r"|fiction|fictional|fictitious|scenario|universe|world where|if)\b",
    re.IGNORECASE,
)
_UNIQUE = word_set("sun moon earth world universe internet sky equator")
_NP = re.compile(r"\b[Tt]he ((?:[\w'’.-]+ ?){1,9})")
_COMPLETES = word_set("of between behind")
_PLACES = word_set("in on at from to for by with during")  # where, not which: for the tallest one that is enough
_ONLY_ONE = re.compile(r"most|only|least|\w{2,}est")
# In capitals, and no names: days, and what there are many of.
_NO_NAMES = word_set(
    "pin ceo cfo cto id ids url pdf api app atm atms vat gps usb wifi sim cv hr it ui os db vip"
    " university college school church city state company president king queen emperor government party court house"
    " museum park team war army act treaty hotel restaurant bank street river island union congress senate parliament"
    " january february march april may june july august september october november december monday tuesday wednesday"
    " thursday friday saturday sunday i i'm i'd i've tv pc ok faq am pm usd eur gbp christmas easter"
)
# "The Norman castle" is one of many, "the Roman Empire" is not.
_PEOPLES = re.compile(r"^[A-Z]\w*(?:an|ish|ese|ch|man)$")
_QUOTED = re.compile(r"[\"“«]([^\"”»]{2,})[\"”»]")
_WORD = re.compile(r"[^\W_]+")
_WEAK = frozenset(stem(word) for word in CARRIES_NO_MEANING)
_DEFINES = re.compile(r"^what is an? [a-z][\w-]+(?: [a-z][\w-]*){0,3}$")
_VAGUE = word_set(
    "good bad best worst great normal common fair reasonable safe healthy average ideal right wrong proper suitable"
    " appropriate recommended popular important main new old cheap expensive nice correct possible available long short"
)
_ENGLISH = word_set(
    "is are was were do does did the of in to for from what who which when where why how can could has have an a by"
    " with on at"
)
_NOT_ENGLISH = word_set(
    "der die das und ist ein eine wie wer le la les des est et que el los las una por para il di che het een van en och"
    " si sur dans qui wo warum"
)


def flaw(text: str) -> str | None:
    """Why this last turn does not stand alone; None: it does."""
    said = bare(text)
    if not said or len(text) > MAX_CHARS or "\n" in text.strip():
        return "form"
    tokens = said.split()
    small = {token.lower().strip(",.;:?!'\"") for token in tokens}
    if not text.isascii() or len(small & _ENGLISH) < 1 or small & _NOT_ENGLISH:
        return "language"
    if not _QUESTION.match(said) or re.search(r"[.?!;:](?: |$)", said.rstrip("?.! ")):
        return "form"
    if is_deictic(said):
        return "deictic"
    if _PERSON.search(said):
        return "person"
    if _ELSEWHERE.search(said):
        return "elsewhere"
    if _COMPARES.search(said) and not _BOTH_SIDES.search(said):
        return "compares"
    if _ORDERS.search(said) and not _QUOTED.search(said):
        return "orders"
    if not all(_is_complete(match.group(1).split()) for match in _NP.finditer(plain(text))):  # a bare form has fewer
        return "the"
    defines = _DEFINES.match(said) and not small & _VAGUE
    return None if defines or has_name(said) else "no_name"


def is_plain(text: str) -> bool:
    """Whether a turn of a user leaves no trace in a conversation: a plain question, or a word of greeting."""
    if len(text) > MAX_CHARS or "\n" in text.strip() or not text.isascii() or "`" in text:
        return False
    said = _stripped(text)
    if _GREETING.match(said):
        return True
    rest = _WRAPPED.sub("", _FOLLOWS.sub("", bare(said) or said))
    is_question = _QUESTION.match(rest) or (rest != said and text.rstrip().endswith("?"))
    return bool(is_question) and not _PERSON.search(rest) and not _ORDERS.search(rest)


def has_orders(text: str) -> bool:
    """Whether a turn says something that may hold for those behind it."""
    return _ORDERS.search(text) is not None


def topics(text: str) -> tuple[str, ...]:
    """What a turn is about: its words in order, but for those that mean little. "Not" means much."""
    if _GREETING.match(_stripped(text)):
        return ()
    rest = _WRAPPED.sub("", _FOLLOWS.sub("", bare(text) or text))
    weak = CARRIES_NO_MEANING - {"not", "no", "nor", "before", "after", "over", "between", "difference"}
    return tuple(stem(word) for word in words(rest) if word not in weak)


def is_touched(last: str, asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether an answer before may have said what is meant: one that has a word of the last turn in it, or that was
    given to a question with a name of the last turn in it. Where there is no name, any word is one."""
    meant = _stems(last) - _WEAK
    quoted = " ".join(_QUOTED.findall(plain(last)))
    tokens = plain(last).split()[1:]
    marked = " ".join(one for one in tokens if one.lstrip("('\"")[:1].isupper() or PLACES & set(words(one)))
    names = (_stems(quoted) | _stems(marked)) - _WEAK or meant
    return any(meant & _stems(text) for text in said) or any(names & _stems(text) for text in asked)


def has_name(said: str) -> bool:
    """Whether something is named: a name in capitals inside, a place, a quotation."""
    return _QUOTED.search(said) is not None or _is_named(said.split(), is_start=True)


def _is_named(tokens: list[str], *, is_start: bool = False) -> bool:
    """Names count only where the letters are those of a sentence, not of a headline."""
    inner = [token.strip(",.;:?!'\"()") for token in (tokens[1:] if is_start else tokens)]
    inner = [token.removesuffix("'s") for token in inner if token]
    capitals = [token for token in inner if token[:1].isupper() and token.lower() not in _NO_NAMES]
    small = [token for token in inner if token[:1].islower()]
    if capitals and (not is_start or len(small) >= 2):
        return True
    return any(token.lower() in PLACES for token in inner)


def _is_complete(tokens: list[str]) -> bool:
    """Whether a phrase behind "the" says which: a name in it, or behind its "of"."""
    if tokens[0].lower() in _UNIQUE:
        return True
    for at, token in enumerate(tokens):
        if _is_named([token]):
            behind = tokens[at + 1] if at + 1 < len(tokens) else ""
            return not (_PEOPLES.match(token) and behind[:1].islower())
        if at and (token in _COMPLETES or token in _PLACES):
            is_one = token in _COMPLETES or any(_ONLY_ONE.fullmatch(before) for before in tokens[:at])
            return is_one and _is_named(tokens[at + 1 :])
        if at >= 4:
            return False
    return False


def _stems(text: str) -> set[str]:
    """As `words` and `stem` have them, but for accents and marks inside; a long answer is not worth remembering."""
    if not text.isascii():
        text = "".join(one for one in normalize("NFKD", plain(text)) if not combining(one))
    return {stem(word) for word in _WORD.findall(text.lower())}


def _stripped(text: str) -> str:
    return " ".join(plain(text).split())
