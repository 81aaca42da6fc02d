"""The bare form of English: "Could you please tell me what X is?" is "what is X".

Only what surely means nothing goes: wrappers of politeness, contractions, numbers in words, the end mark. All else
stays as typed, case and marks too: REST is no rest, "the matter" no matter, "your data" not my data. What is quoted,
or stands behind a colon, is somebody's words and stays to the letter; so does a question about words themselves.
"""

import re

from embeddings.repairs import ASKS, QUOTED
from embeddings.text import word_set

_IDENTIFIER = re.compile(r"`([A-Za-z]\w*_\w*)`")
_HELD = "\ue100"  # stands for a quoted span while the rest is read
_ABOUT_WORDS = re.compile(
    r"\b(?:say|says|said|saying|spell(?:s|ed|ing)?|spelt|pronounc\w*|translat\w*|mean(?:s|ing)?|words?|phrases?|"
    r"sentences?|grammar\w*|rhymes?|synonyms?|antonyms?|articles?|letters?|punctuation|commas?|contractions?|written|"
    r"writing|typed?|proofread|rewrite|rephrase|paraphrase|correct|reply|respond|noun|verb|titled?|called|named|lyrics)\b",
    re.IGNORECASE,
)
_END = re.compile(r"(?<=[^\W\d_]{2})[?.!。？！…]+$")
_TALKS = rf"(?:(?:{ASKS})s?\b|please (?=tell|explain)|(?:tell me|explain|(?:can|could|would|will) (?:you|i))\b)"
_OPENS = rf"(?:{_TALKS}|(?:i|is|are|was|were|do|does|did|has|have|should|may|list|suggest|write|give|show)\b)"
_HELLO = "hi|hello|hey|hi there|hello there|hey there|good (?:morning|evening|afternoon)|excuse me"
_TELL = "(?:tell me|explain(?: to me)?|let me know)"
_FRONT = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"^(?:{_HELLO}),? (?={_TALKS})",
        rf"^(?:{_HELLO}|sorry|ok|okay|so|well|um|uh|quick question|(?:i have )?(?:a|one more) question)"
        rf"[,.!:]+ (?={_OPENS})",
        rf"^please,? "
        rf"(?=(?:{_TELL}|show me|list|suggest|write|give|describe|summari[sz]e|compare|help|can you|could you)\b)",
        rf"^(?:can|could|would|will) you (?:please |kindly )?(?={_TELL} |show me how to )",
        rf"^(?:can|could|may|might) i (?:please )?ask (?:you )?(?=(?:{ASKS})\b)",
        rf"^(?:i(?: would|'d) like|i want|i need|i wish) to (?:know|ask|understand) (?=(?:{ASKS})\b)",
        rf"^i (?:wonder|(?:am|was) (?:wondering|curious)) (?=(?:{ASKS})\b)",
        rf"^{_TELL} (?:please )?(?=(?:{ASKS})\b)",
        r"^show me (?=how to )",
    )
]
# Only behind a comma or full stop: "how do you say thank you" is no thanks.
_THANKS = re.compile(
    r"(?<! no)(?<! yes)[,.?!]\s+(?:please|pls|plz|thanks|thx|cheers|thank you|many thanks)"
    r"(?: (?:very|so) much| a lot| in advance)?[.!?]*$",
    re.IGNORECASE,
)
_PLEASE = re.compile(
    rf"^((?:(?:{ASKS}) (?:is|are|do|does|did|can|was|were)|tell|explain|list|suggest|give|show|write|can|could)\b.+"
    r"(?<! to)(?<! for)(?<! of)(?<! with)(?<! i)(?<! you)(?<! we)(?<! they)(?<! he)(?<! she)(?<! it)(?<! use)"
    r"(?<! is)(?<! does)) (?:please|pls|plz)[.!?]*$",
    re.IGNORECASE,
)
# "How do I", "how can I" and "how to" ask for a way with these; "how do I look" does not.
_DOABLE = (
    "make|cook|use|calculate|write|convert|solve|find|install|remove|clean|draw|fix|change|create|build|measure|"
    "delete|open|close|add|reset|enable|disable|turn|restart|export|import|upload|download|update|cancel|connect|"
    "print|merge|sort|parse|reverse|sum|freeze|get rid|set up|sign|log|prepare"
)
_ASKS_LAST = re.compile(rf" (?:{ASKS})$")
_BE = "is|are|was|were"
_REWRITES = [
    (re.compile(pattern), full)
    for pattern, full in (
        (rf"^how (?:do|can) i (?=(?:{_DOABLE})\b)", "how to "),
        (rf"^how does one (?=(?:{_DOABLE})\b)", "how to "),
        (r"^(suggest|give|show|tell|list|recommend) me (?=(?:\d+|an?|the|some) )", r"\1 "),
        # behind a wrapper: "(tell me) what X is", "(explain) how X works"
        (
            rf"^(what|who|where)(?! (?:{_BE}|do|does|did|can|will|would|has|have)\b)((?: [\w'-]+){{1,8}}) ({_BE})$",
            r"\1 \3\2",
        ),
        (r"^how(?! (?:to|do|does|did|can|is|are|many|much)\b)((?: [\w'-]+){1,6}) works$", r"how does\1 work"),
        (r"^(what|who) (is|are|was|were) the (?=(?:[\w'-]+ ){1,3}of )", r"\1 \2 "),
    )
]
_SPELLINGS = {
    word: full
    for pair in word_set(
        "summarise/summarize analyse/analyze organise/organize optimise/optimize favourite/favorite"
        " kilometre/kilometer kilometres/kilometers"
    )
    for word, full in [pair.split("/")]
}
_WHOLE = {
    "can't": "can not", "cannot": "can not", "won't": "will not", "it's": "it is", "i'm": "i am",
}  # fmt: skip
_WHOLE_AT_START = {"whats": "what is", "whos": "who is", "wheres": "where is", "hows": "how is"}
_NOT = re.compile(r"(do|does|did|is|are|was|were|has|have|had|would|could|should|must|need)n't", re.IGNORECASE)
_IS = re.compile(r"(what|who|where|when|how|why|that|there|here)'s", re.IGNORECASE)
_LESS = re.compile(r"([A-Za-z]+)'(re|ve|ll)")
_ENDINGS = {"re": "are", "ve": "have", "ll": "will"}
_NUMBERS = {
    word: n for n, word in enumerate(["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], start=2)
}
_COUNTS = word_set(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion point"
    " half and dozen to or minus plus times"
)
_LENGTH = re.compile(r"^(\d+)(km|kg|cm|mm)$")
_UNITS = {"kilometer": "km", "kilometers": "km", "centimeters": "cm", "millimeters": "mm", "kilograms": "kg"}
# Words that open a question: in capitals only because they do.
_OPENERS = word_set(
    ASKS.replace("|", " ")
    + " can could would will should may might is are was were do does did has have please tell explain describe"
    " give show list write suggest summarize summarise compare translate help make create hi hello hey in"
    " on at of for from to by during if as after before since under the there find"
)
_AUXILIARY = word_set("do can could should would will am did may might must have had if when that")


def bare_english(text: str) -> str:
    """What decides the answer: the words and marks in order."""
    held = [_IDENTIFIER.sub(r"\1", span) for span in QUOTED.findall(text)]
    said = " ".join(QUOTED.sub(_HELD, text).split())
    if '"' in said or "`" in said:
        return ""  # a quotation that nobody closed
    is_about_words = _ABOUT_WORDS.search(said) is not None
    said, colon, given = said.partition(":") if not is_about_words else (said, "", "")
    if not colon and not is_about_words:
        said = _PLEASE.sub(r"\1", _THANKS.sub("", said))
    said, mark = _without_end(said) if not colon and ":" not in said else (said, "")
    said = _without_front(said)
    if not is_about_words:
        said = " ".join(_spelled(said.split(" ")))
    for pattern, full in _REWRITES if not colon and not is_about_words else ():
        said = pattern.sub(full, said)
    if "?" in mark and said.split(" ")[0] not in _OPENERS and not _ASKS_LAST.search(said):
        said += "?"  # "You are home?" asks, "You are home." tells
    said += colon + given
    for span in held:
        said = said.replace(_HELD, span, 1)
    return said if _is_enough(said) else ""


def _without_end(said: str) -> tuple[str, str]:
    found = _END.search(said)
    return (said[: found.start()], found.group()) if found else (said, "")


def _without_front(said: str) -> str:
    said = _opened(said)
    for _ in range(4):
        before = said
        for front in _FRONT:
            said = _opened(front.sub("", said))
        if said == before:
            break
    return said


def _opened(said: str) -> str:
    """The first word in small letters, where it is one that opens a question."""
    first, space, rest = said.partition(" ")
    small = first.lower()
    is_opener = small.rstrip(",!.").removesuffix("'s") in _OPENERS or small in _WHOLE_AT_START
    return f"{small}{space}{rest}" if is_opener and first == first.capitalize() else said


def _spelled(tokens: list[str]) -> list[str]:
    row: list[str] = []
    for n, token in enumerate(tokens):
        near = {*tokens[max(0, n - 1) : n], *tokens[n + 1 : n + 2]}
        if token in _NUMBERS and not any(word in _COUNTS or word[:1].isdigit() for word in near):
            row.append(str(_NUMBERS[token]))
        elif found := _LENGTH.match(token):
            row.extend(found.groups())
        elif token in ("I", "i") and (n == 0 or not _AUXILIARY.isdisjoint(near)):
            row.append("i")  # any other single letter may be a variable
        elif token in _UNITS or token in _SPELLINGS:
            word = _SPELLINGS.get(token, token)
            row.append(_UNITS.get(word, word) if row and row[-1].isdigit() else word)
        else:
            row.extend(_written_out(token, is_first=n == 0))
    return row


def _written_out(token: str, *, is_first: bool) -> list[str]:
    small = token.lower()
    if is_first and small in _WHOLE_AT_START:
        return _WHOLE_AT_START[small].split()
    if "'" not in token and small != "cannot":
        return [token]
    if small in _WHOLE:
        return _WHOLE[small].split()
    if found := _NOT.fullmatch(token) or _IS.fullmatch(token):
        return [found[1], "not" if small.endswith("n't") else "is"]
    if found := _LESS.fullmatch(token):
        return [found[1], _ENDINGS[found[2]]]
    return [token]


def _is_enough(said: str) -> bool:
    return sum(len(word) > 1 or word.isdigit() for word in said.split()) >= 2
