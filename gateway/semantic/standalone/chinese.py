"""Which Chinese last turns stand alone, and which turns before them leave no trace. In doubt: not this one.

Chinese marks neither names nor "the", so a name has to be seen: a title in 《》, a quotation, Latin letters, a place.
"""

import re
from collections.abc import Sequence

from embeddings.lexical import bare
from embeddings.text import HAN, plain
from gateway.identity.questions import is_deictic
from gateway.semantic.standalone.places import CHINESE as PLACES

MAX_CHARS = 120

_ASKS = re.compile("什么|谁|哪|怎么|怎样|如何|多少|几[个年月部位次岁座所]|为什么|是否|吗|是不是|有没有|多[高长远大久]")
_NAME = re.compile(
    f'《[^》]{{1,40}}》|“[^”]{{2,40}}”|「[^」]{{2,40}}」|"[^"]{{2,40}}"|[A-Za-z][A-Za-z0-9+#.-]+|{PLACES}'
)
# It has to come first, or all but first: in 是日本哪里人 the place is not what is asked about.
_OPENS = re.compile(f"(?:在|从|关于|谁是|什么是|为什么|为何|请问)?(?:{_NAME.pattern})")
_PERSON = re.compile("[我你您咱]|大家|朋友|看过|听过|去过|吃过|喜欢|觉得|认为|知道|了解|听说|推荐|建议|想|帮|请")
_ELSEWHERE = re.compile(
    "该|本[片剧书人店市]|上述|前者|后者|以上|以下|下面|同名|类似|别的|相比|更|比较|哪个|哪一|哪种|除了|又|也|另|附近|当地|改写|翻译|总结|概括"
    "|润色|缩短|扩写|修改|分别|(?<![首成])都|一起|后来|之后|之前|最后|首先|第[一二三四五六七八九十\\d]"
)
# An attribute with nobody it belongs to, in front of whatever is named behind it.
_OWNERLESS = re.compile(
    "^(?:导演|主演|主角|男主|女主|演员|作者|歌手|编剧|电影|影片|片子|歌曲|专辑|门票|票价|景点|景区|酒店|餐厅|房间|早餐|地址|电话|公司|产品|价格|费用|时间)"
)
_ORDERS = re.compile(
    "扮演|假设|假如|假装|如果|想象|从现在|以后|总是|只能|只要|不要|别|必须|回答|回复|用.{1,6}[说写讲]|简短|简洁|详细|字以内|格式|表格|列表|风格|语气|故事|诗|游戏|写(?!的|了|过)|翻译|记住|忘记|忽略"
)
_WEAK = re.compile(f"{_ASKS.pattern}|[^A-Za-z0-9{HAN}]+|[的是在有和与及了从被把钱]|关于|请问")
_GREETING = re.compile("^(?:你好|您好|嗨|哈喽|谢谢(?:你|您|了|啦)?|多谢|再见)[呀啊哦呢!！。~,，]*$")
_MARKS = re.compile(r"[\s,，。.?？!！~、]+|[呢呀啊吗吧]+$")


def flaw(text: str) -> str | None:
    """Why this last turn does not stand alone; None: it does."""
    said = bare(text)
    if (
        not said
        or len(text) > MAX_CHARS
        or "\n" in text.strip()
        or re.search("[。！？!?；;].", plain(text).rstrip("?!。 "))
    ):
        return "form"
    outside = re.sub('《[^》]*》|“[^”]*”|「[^」]*」|"[^"]*"', "《》", plain(text))
    if not _ASKS.search(outside) or "," in outside:  # before a comma stands what is thought of the last answer
        return "form"
    if is_deictic(outside) and is_deictic(outside.replace("其中", "")):
        return "deictic"
    if _PERSON.search(outside):
        return "person"
    if _ELSEWHERE.search(outside) or _OWNERLESS.search(outside):
        return "elsewhere"
    if _ORDERS.search(outside):
        return "orders"
    return None if _OPENS.match(plain(text).strip()) else "no_name"


def is_plain(text: str) -> bool:
    """Whether a turn of a user leaves no trace in a conversation: a plain question, or a word of greeting."""
    said = plain(text[: MAX_CHARS + 1]).strip()
    if len(text) > MAX_CHARS or "\n" in said or "`" in said:
        return False
    if _GREETING.match(said):
        return True
    rest = bare(text) or said
    is_question = _ASKS.search(rest) or said.endswith("?")
    return bool(is_question) and not re.search("[我咱]", rest) and not _ORDERS.search(rest)


def has_orders(text: str) -> bool:
    """Whether a turn says something that may hold for those behind it."""
    return _ORDERS.search(text) is not None


def topics(text: str) -> tuple[str, ...]:
    """What a turn is about: its bare form as a whole; nothing reads Chinese words apart here."""
    said = plain(text).strip()
    return () if _GREETING.match(said) else (_MARKS.sub("", bare(text) or said),)


def is_touched(last: str, asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether an answer before may have said what is meant: one with two characters of the last turn in it that stand
    together, or a Latin word; or one to a question with a name of the last turn in it."""
    text = plain(last)
    names = {match.group().strip('《》“”「」"').lower() for match in _NAME.finditer(text)}
    pieces = [piece for piece in _WEAK.split(text.lower()) if piece]
    pairs = {piece[at : at + 2] for piece in pieces for at in range(len(piece) - 1)} or set(pieces)
    answers = [plain(one).lower() for one in said]
    questions = [plain(one).lower() for one in asked]
    return any(pair in one for one in answers for pair in pairs) or any(
        name in one for one in questions for name in names
    )
