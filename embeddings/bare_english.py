"""The bare form of English: "Could you please tell me what X is?" is "what is X"."""

import re

from embeddings.guards.numbers import spelled_units
from embeddings.text import word_set, written_out

_TOKEN = re.compile(r"`[^`]*`|[^\W_]+(?:['.:/_@-][^\W_]+)*(?:\+\+|#)?|[^\w\s]|_")
_ENDS = re.compile(r"[?.!,:;…]+(?=[\s\"')]|$)|[\"“”]|(?<!\w)'|'(?!\w)")
_HYPHEN = re.compile(r"(?<=[A-Za-z])-(?=[A-Za-z])")
_CAMEL = re.compile(r"[a-z][A-Z]|_")
_ARTICLE = re.compile(
    r"(?<!vitamin )(?<!hepatitis )(?<!type )(?<!group )(?<!grade )(?<!class )(?<!plan )(?<!section )"
    r"(?<!part )(?<!option )"
    r"(?:(?<=^)|(?<= ))(?:a|an|the|just) (?=\w)"
)
_SHOUTED = word_set("US IT WHO AIDS OR IN ME AM PM AS HE SO ON DO CAN MAY WILL A")  # words when small
_ASKS = "what|who|whom|whose|which|where|when|why|how"
_REQUEST = (
    "explain|tell|give|show|list|write|suggest|describe|help|make|create|plan|recommend|provide|translate|summarize|"
    "draft|compare|define|name|generate|find|convert|calculate|fix|rewrite|rephrase|proofread|design|draw|"
    "check|answer|solve|compose|teach|share|outline|elaborate|clarify|walk|propose|analyze|edit|correct|improve"
)
_OPENS = rf"(?=(?:{_ASKS}|{_REQUEST}|can|could|would|will|should|may|i|is|are|was|were|do|does|did|has|have|please)\b)"
# "How do you ..." asks for a way with these; with others it may ask the one who answers.
_DOABLE = (
    "make|say|spell|cook|get|use|calculate|write|pronounce|convert|solve|find|install|remove|clean|count|play|draw|tie|"
    "fix|form|change|create|build|grow|measure|choose|prevent|treat|delete|open|close|add|turn|set|train|learn|prepare"
)
_FRONT = [
    re.compile(pattern)
    for pattern in (
        rf"^(?:hi|hello|hey|ok|okay|so|well|um|uh|good (?:morning|evening|afternoon))(?: there| all)? {_OPENS}",
        rf"^(?:excuse me|sorry|quick question|i have a question|one more question) {_OPENS}",
        r"^please (?=\w+ \w)",
        rf"^(?:can|could|would|will) you (?:please |kindly )?(?=(?:{_REQUEST})\b)",
        rf"^(?:can|could|may|might) i (?:please )?(?:ask|know) (?:you )?(?=(?:{_ASKS})\b)",
        r"^i(?: (?:would|do))? (?:like|want|need|love|wish) (?:you )?to (?:know|ask|understand|find out)"
        rf"(?: about)? (?=(?:{_ASKS})\b)",
        rf"^i(?: (?:would|do))? (?:like|want|need) you to (?=(?:{_REQUEST})\b)",
        rf"^i (?:am|was) (?:wondering|curious|trying to (?:find out|understand|figure out))(?: about)?"
        rf" (?=(?:{_ASKS})\b)",
        rf"^(?:i wonder|i do not know|i am not sure|do you know|would you know|any idea|you know) (?=(?:{_ASKS})\b)",
        rf"^(?:tell|teach|show|explain to) me (?:please )?(?=(?:{_ASKS})\b)",
        rf"^(?:explain|describe|clarify|let me know|help me understand|define) (?=(?:{_ASKS})\b)",
        rf"^help me (?:to )?(?=(?:{_REQUEST})\b)",
    )
]
# Only behind a comma or full stop: "how do you say thank you" is no thanks.
_THANKS = re.compile(
    r"[,.?!;]\s*(?:please|pls|plz|kindly|thanks|thx|ty|cheers|thank you|many thanks)"
    r"(?: (?:very|so) much| a lot| in advance)?"
    r"[\s.!?]*$",
    re.IGNORECASE,
)
_PLEASE = re.compile(
    r"(?<!say)(?<!spell)(?<!write)(?<!pronounce)(?<! is)(?<!translate)(?<!with)(?<! of) please[\s.!?]*$"
)
_REWRITES = [
    (re.compile(pattern), full)
    for pattern, full in (
        (rf"^({_REQUEST}) (?:me|us) ", r"\1 "),
        (rf"^((?:{_REQUEST}) .+) for me$", r"\1"),
        (r"^(?:what is|what are|is there|are there|what would be) (?:some |any |one )?ways? to ", "how to "),
        (r"^what (?:must|should|can|do) i do to ", "how to "),
        (r"^(?:what|which) are steps to ", "how to "),
        (rf"^how (?:do|can|could|would) you (?=(?:{_DOABLE})\b)", "how to "),
        (r"^how (?:do|can|could|should|would|might|must|shall) (?:i|we|one) ", "how to "),
        (r"^how (?:does one|is it possible to) ", "how to "),
        (r"^how (?:can|could|would) (?:i|we) be able to ", "how to "),
        (r"^(?:is it possible|is it ok|is it okay|is it fine|is it allowed|am i able|am i allowed) to ", "can i "),
        (r"^(?:can|could|may) (?:we|one|i) ", "can i "),
        (rf"^((?:{_ASKS})(?: kind of| type of| sort of)?) (?:exactly|actually|really|precisely) ", r"\1 "),
        (r"^(what|who|where|when|how)((?: [\w'-]+){1,8}) (is|are|was|were)$", r"\1 \3\2"),
        (r"^(what|where|when|why|how) (?:do|does) ", r"\1 "),
        (
            r"^(what|why|how|where|when) (?!(?:is|are|was|were|to|can|could|did|do|does|should|would|will|has|have)\b)"
            r"((?:\w+ ){1,4}?\w{3,})(?<!s)s$",
            r"\1 \2",
        ),
        (r"^what is (?:meaning|definition) of (?:word |term )?(.+)$", r"what is \1"),
        (r"^what (?!(?:it|this|that|he|she|they|these|those|you|i|we) )(.{2,40}) mean$", r"what is \1"),
        (r"^(?:which|what) (?:are|is) ", "what is "),
        (r"^which ", "what "),
        (r"^(?:define|definition of|meaning of) (?=\w+(?: \w+){0,2}$)", "what is "),
    )
]
_MINE = re.compile(r"(?<= )my (?=\w)")
_SPELLINGS = dict(
    pair.split("/")
    for pair in word_set(
        "colour/color colours/colors favourite/favorite centre/center theatre/theater organise/organize"
        " behaviour/behavior summarise/summarize analyse/analyze grey/gray programme/program optimise/optimize"
        " neighbour/neighbor litre/liter litres/liters metre/meter metres/meters tyre/tire tyres/tires"
        " cancelled/canceled travelling/traveling maths/math photos/pictures pics/pictures u/you ur/your"
        " kids/children info/information"
    )
)


def bare_english(text: str) -> str:
    """The words that decide the answer, in order, in lower case."""
    text = _PLEASE.sub("", _THANKS.sub("", text))
    tokens = _TOKEN.findall(_HYPHEN.sub(" ", _ENDS.sub(" ", spelled_units(text))))
    said = " ".join(word for n, token in enumerate(tokens) for word in _folded(token, is_first=n == 0))
    for _ in range(4):
        before = said
        for front in _FRONT:
            said = front.sub("", said)
        if said == before:
            break
    said = _ARTICLE.sub("", said)
    for pattern, full in _REWRITES:
        said = pattern.sub(full, said)
    if said.startswith(("how to ", "can i ")):
        said = _MINE.sub("", said)
    return said if _is_enough(said) else ""


def _folded(token: str, *, is_first: bool) -> list[str]:
    if token[0] == "`" and len(token) > 1:
        return token[1:-1].split()
    if (token in _SHOUTED and not is_first) or _CAMEL.search(token):
        return [token]
    return [_SPELLINGS.get(word, word) for word in written_out(token.lower())]


def _is_enough(said: str) -> bool:
    return sum(len(word) > 1 or word.isdigit() for word in said.split()) >= 2
