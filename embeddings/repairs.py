"""What somebody meant who corrected himself: "Who wrote, no sorry, who sang Hey Jude" is "who sang Hey Jude".

Spoken and hastily typed questions take words back. A correction has three parts: what is taken back, words that say so
(the cue), and what is meant instead. Where the cue is plain and the parts can be told, what was taken back is cut out;
any other text is left as it is.

    How many people lived  in Uganda   no, no,  in China   in the 1300s?
                           taken back  cue      meant instead
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from embeddings.text import letter_runs, plain, word_set

ASKS = "what|how|who|whom|whose|which|when|where|why"
_DET = "the|an?|this|that|these|those|his|her|their|my"
_INTO = "in|on|of|for|at|by|from|to|during|with|about"
_FILLER = r"(?:um+|uh+|er+m?|hm+|oo+f|oops|oh|ah|huh|hmm+|well|wait|sorry|ok|okay|actually|rather|like|so|instead|yeah)"
_BE = "is|are|was|were|do|does|did|can|could|should|will|would|has|have|had|may|might|must"
_PLAIN_CUE = (
    r"(?:no (?:no|wait(?! (?:times?|lists?|staff)\b)"
    r"|sorry|actually|rather|i mean|i meant|make that|scratch that|um+|uh+|hold on|not that)"
    r"|(?:or )?(?<!do )(?<!did )(?<!what )(?<!this )(?<!that )i (?:mean|meant)(?: to (?:say|ask))?"
    r"(?! (?:or|and|vs|versus)\b)|i(?: am|'m) sorry"
    rf"|or make that|(?<!to )(?<!\bi )(?<!you )(?<!we )make that(?= (?:\d|{ASKS}))"
    r"|(?:let me|i will|i'll) (?:rephrase|correct)(?: that| it)?"
    r"|(?<=, )(?:let me|i will|i'll) try again|nope|sorry(?=,? \d)|correction(?=,? )|or actually"
    rf"|or wait(?=,|,? (?:no|sorry|{ASKS})\b)|(?:(?<=, )|wait,? )hold (?:on|up)(?! (?:in|at|for|to)\b)"
    r"|(?<!to )(?<!\bi )(?<!you )(?<!we )(?:scratch|strike) that|or rather(?! than\b)|actually no|sorry no|wait no"
    r"|um+|uh+|erm|oo+f|oops|oh(?= (?:no|wait|sorry|i|in|what|who|how|when|where|which|off)\b)"
    rf"|(?<!the )(?<!an )(?<!my )(?<!our )(?<!nearest )(?<!closest )(?<!local )(?<!hospital )(?-i:er)"
    rf"(?=,? (?:{_DET}|{ASKS}|{_INTO}|[A-Z]))|(?<=, )er(?=,? )"
    rf"|(?<!am )(?<!so )(?<!feel )(?<!is )(?<!are )(?<!be )sorry(?=,? (?:{ASKS}|{_DET}|\d))"
    # "no" alone is most often an answer: a cue between commas, before a question that begins anew, or where the article
    # is said again ("the Rhine no the North Sea").
    rf"|no(?=,? (?:{ASKS}) (?:(?:{_BE})\b|\w+ ))|no(?= (?:the|an?) )|(?<=, )no(?=, )|no(?=,? \d)"
    rf"|(?<=, )actually(?=,? (?:{ASKS})\b)|(?<=, )rather(?! than\b)\b)"
)
_CUE = re.compile(
    rf"(?<=\w)(?:[\s,-]|\.{{2,}})*(?<![\w'])(?:(?:or|and|but|{_FILLER})[\s,]+)*{_PLAIN_CUE}"
    rf"(?:[\s,.]+(?:{_FILLER}|no|{_PLAIN_CUE}))*(?!\w)"
    r"[\s,.;:-]*(?:tell me |i want to know |i want |can you tell me |let me know |that is )?(?=\S)",
    re.IGNORECASE,
)
# "What was, or who had ...": begun anew after two or three words. "Who is or who was king" asks both.
_BEGUN_ANEW = re.compile(
    rf"^(?!(?:{ASKS})(?: \w+)? (?:{_BE}),? or,? (?:{ASKS}) (?:\w+ )?(?:{_BE})\b)"
    rf"(?:{ASKS})(?: \w+){{1,2}},? or,? (?=(?:(?:{_INTO}) )?(?:{ASKS})\b(?: \w+){{3}})",
    re.IGNORECASE,
)
_HINTS = word_set(
    "no mean meant sorry make rephrase correct try nope correction actually wait hold scratch strike rather er erm oops"
    " oh or"
)
_QUESTION = word_set(ASKS.replace("|", " "))
_LEADS_IN = word_set(_INTO.replace("|", " "))
_DETERMINERS = word_set("the a an this that these those its his her their my your")
_POINTS_BACK = word_set("it they them he him she this that its their his her")
_AUXILIARIES = word_set(_BE.replace("|", " "))
# What stands behind these is spoken of, or an answer: "say no to a friend", "vote no on the deal".
_SPOKEN_OF = word_set(
    "say says said saying answer answers answered answering reply replies replied vote votes voted voting mean"
    " means meant meaning plead pleads write type typed spell word words yes whether text texted hear heard call"
    " called named title titled song film movie film's book feel feels sound sounds scream shout shouts yell yells"
    " whisper tell told click press choose pick select"
)
_BEFORE_AN_ANSWER = word_set("have has had there little few some any be been get gets got with for to of")
_OF_TIME = word_set(
    "first second third fourth fifth last next previous same other day week month year night morning moment minute hour"
    " time only more whole entire rest"
)
_SPEAKERS = word_set("i you we")
_DIGIT = re.compile(r"\d")
QUOTED = re.compile(r"`[^`]*`|\"[^\"]*\"|(?<!\w)'(?:[^']|(?<=\w)'(?=\w))+'(?!\w)")
_HELD = [chr(0x2D30 + n) for n in range(20)]  # letters of Tifinagh stand for what is quoted while the rest is read
_GIVEN = re.compile(
    r":\s|(?:^|please |you )(?:translate|spell|proofread|rephrase|rewrite|paraphrase|say)\b", re.IGNORECASE
)
_MOST_TAKEN_BACK = 8
_MOST_WORDS = 60


@lru_cache(maxsize=1024)
def corrected(text: str) -> str:
    """The text without what it takes back; unchanged when it takes nothing back for certain."""
    if len(text) > 10 * _MOST_WORDS or "\n" in text or not text.isprintable() or not _may_take_back(text):
        return text
    whole = plain(text)
    held = QUOTED.findall(whole)
    if len(held) > len(_HELD) or any(letter in whole for letter in _HELD):
        return text
    letters = iter(_HELD)
    start = QUOTED.sub(lambda _: next(letters), whole)
    said = _BEGUN_ANEW.sub("", start)
    for _ in range(3):
        cue = _CUE.search(said)
        if cue is None or '"' in said or "`" in said or _GIVEN.search(said, 0, cue.start()):
            break  # no quotation, closed or not, is taken back, nor a text that is given to be worked on
        before, after = said[: cue.start()].split(), said[cue.end() :].split()
        meant = _meant(before, after) if _takes_back(before, cue.group().strip(), after) else None
        if meant is None:
            break
        said = " ".join(meant)
    if said == start:
        return text
    for letter, span in zip(_HELD, held, strict=False):
        said = said.replace(letter, span)
    return said


def _may_take_back(text: str) -> bool:
    """Whether a text has a word of a cue: most have none."""
    if not text.isascii():
        return True
    runs = letter_runs(text)
    return not _HINTS.isdisjoint(runs) or any(run.startswith(("um", "uh", "oo")) for run in runs)


def _takes_back(before: Sequence[str], cue: str, after: Sequence[str]) -> bool:
    """Whether the cue is one here, and no word that is spoken of, no answer, no title and no choice."""
    old, new, spoken = ([_bare(word) for word in words] for words in (before, after, cue.split()))
    if not old or not new or not new[0] or old[-1] in _SPOKEN_OF or new[0] in ("or", "and"):
        return False
    first = cue.lstrip(" ,.-").split()[0]
    if first[0].isupper() and _bare(first) != "i" and not cue.startswith((",", "-", ".")):
        return False  # "the film Nope", "Dr No"
    if spoken[0] == "or" and not _asks(old) and old[0] in _AUXILIARIES:
        return False  # "is it a fruit or rather a vegetable": a choice
    is_alone = [word for word in spoken if word] in (["no"], ["or", "no"])
    return not is_alone or (cue.startswith(",") and cue.endswith(",")) or _is_plain_no(old, new)


def _is_plain_no(old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether "no" without commas takes something back: before another question, or another thing of the same article.

    "Who voted no when the house met" goes on; "who was no when did" begins anew.
    """
    if old[-1] in _BEFORE_AN_ANSWER or "there" in old:
        return False
    if _DIGIT.search(new[0]):
        return _DIGIT.search(old[-1]) is not None
    if new[0] in _QUESTION and len(new) >= 3:
        return new[1] in _AUXILIARIES or (new[0] in ("what", "which", "whose", "how") and new[1] not in _POINTS_BACK)
    if old[-1].endswith("ed") or len(new) < 2 or new[1] in _OF_TIME:
        return False
    return new[0] in ("the", "a", "an") and new[0] in old[-4:]


def _meant(before: Sequence[str], after: Sequence[str]) -> list[str] | None:
    """What is meant by `before`, a cue and `after`; None when that cannot be told."""
    if not before or not after or len(before) + len(after) > _MOST_WORDS:
        return None
    old, new = [_bare(word) for word in before], [_bare(word) for word in after]
    if _asks(new) and ((len(new) >= 4 and 5 * len(new) >= 4 * len(old)) or (len(new) == 3 and len(old) <= 3)):
        is_begun_anew = (
            not _POINTS_BACK & set(new)
            and new[1] not in _SPEAKERS
            and (_asks(old) or old[0] in _LEADS_IN or len(old) <= 3)
        )
        return [*_lead(before), *after] if is_begun_anew else None  # a statement before a question is its ground
    if _DIGIT.search(new[0]):
        return _with_number(before, old, after)
    start = _start_of_taken_back(before, old, new)
    if start is None:
        start = _name_at_end(before)
        if start == len(before):
            if new[0] in _DETERMINERS | _LEADS_IN | _QUESTION:
                return None
            start = len(before) - next((n for n in (2, 3) if old[-1] in new[n - 1 : n]), 1)
        elif start > 1 and old[start - 1] in _DETERMINERS and new[0] in _DETERMINERS:
            start -= 1
    start = max(start, 0)
    if start == 0 or _loses_the_question(old[start:], new):
        return None
    return [*before[:start], *after]


def _loses_the_question(taken: Sequence[str], new: Sequence[str]) -> bool:
    """Whether what is taken back holds the question itself, and what is meant instead asks nothing."""
    if not _QUESTION.isdisjoint(taken):
        return not _asks(new)
    return not _AUXILIARIES.isdisjoint(taken) and _AUXILIARIES.isdisjoint(new)


def _with_number(before: Sequence[str], old: Sequence[str], after: Sequence[str]) -> list[str] | None:
    """A number takes the place of the last one: "in 1956, no, 1957"; without one to take back nothing is certain."""
    if _DIGIT.search(old[-1]):
        return [*before[:-1], *after]
    number = next((n for n in range(len(old) - 1, -1, -1) if _DIGIT.search(old[n])), None)
    if number is None or len(after) > 1:
        return None
    return [*before[:number], after[0].rstrip("?."), *before[number + 1 :]]


def _start_of_taken_back(before: Sequence[str], old: Sequence[str], new: Sequence[str]) -> int | None:
    """Where the words before the cue say again what the words behind it begin with."""
    if new[0] in _QUESTION and len(new) < 4:
        return None
    near = range(len(old) - 1, max(-1, len(old) - 1 - _MOST_TAKEN_BACK), -1)
    again = next((n for n in near if old[n] == new[0]), None)
    while again is not None and again > 1 and new[0] in _DETERMINERS and old[again - 1] in _LEADS_IN:
        earlier = next((n for n in near if n < again - 1 and old[n] == new[0]), None)
        if earlier is None or not before[earlier + 1][:1].isupper():
            break
        again = earlier  # the Triassic Period of the Mesozoic Era: both are taken back
    return again


def _lead(before: Sequence[str]) -> Sequence[str]:
    """ "In 1900, who was, no, who sang" begins with a phrase that stays."""
    comma = next((n for n, word in enumerate(before[:8]) if word.endswith(",")), None)
    return before[: comma + 1] if comma is not None and comma > 0 and _bare(before[0]) in _LEADS_IN else ()


def _asks(words: Sequence[str]) -> bool:
    return words[0] in _QUESTION or (words[0] in _LEADS_IN and len(words) > 1 and words[1] in _QUESTION)


def _name_at_end(words: Sequence[str]) -> int:
    """Where the capitalised words at the end of `words` begin; their number when there are none."""
    start = len(words)
    while start > 1 and words[start - 1][:1].isupper():
        start -= 1
        if start > 2 and words[start - 1] in ("of", "de", "the") and words[start - 2][:1].isupper():
            start -= 1
    return start


def _bare(word: str) -> str:
    return word.strip(",.;:!?'\"").lower()
