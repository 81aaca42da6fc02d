"""The bare form of Chinese: 请问怎样打开深色模式？ and 深色模式怎么打开呢 are 如何打开深色模式.

Three kinds of things are folded, each a closed class of the language (`bare_chinese_words`); all that is left, to the
character and in order, is what is asked:

    what means nothing          请问, 你好, 帮我 before 写, 一下 behind 介绍, the end mark, 呢 of a question
    what means the same         怎么 of manner, 如何; 能, 可以; 能不能X, 能X吗; 有什么N, 有哪些N; 三十岁, 30岁
    what may stand elsewhere    怎么打开蓝牙, 蓝牙怎么打开; 夜里为什么咳嗽, 为什么夜里咳嗽; 用X怎么做, 怎么用X做

A word of such a class is folded only where it stands as one: 怎么不来 asks why, 能源 is no 能, 请客人 invites,
一点都不会 counts nothing. What is quoted, or stands behind a colon, stays to the letter; in a question about words
themselves (how is it read, what does it mean) hardly more than the end mark goes, and of several sentences and of long
ones greetings alone.
"""

import re

from embeddings.bare_chinese_numbers import counted
from embeddings.bare_chinese_words import (
    AGENT_ENDS,
    ASKS,
    BY_MEANS,
    FOOD_ENDS,
    LANGUAGES,
    LISTED,
    MAKING,
    OF_TIME_OR_LENGTH,
    OPERATIONS,
    PROGRAMMED,
    PRONOUN,
    RELATIONS,
    TELLING,
    WH,
)
from embeddings.text import HAN

_QUOTED = re.compile(r"`[^`]*`|\"[^\"]*\"|'[^']*'|《[^》]*》|「[^」]*」|『[^』]*』|【[^】]*】")
_HELD = "\ue100"
_SPACE_BETWEEN = re.compile(rf"\s+(?=[{HAN}])|(?<=[{HAN}])\s+")
_PIECE = re.compile(rf"[{HAN}]|[^\W{HAN}]+|{_HELD}")
_MOST_CHARS = 60

# Words are spoken of: to the letter. A text or a song is: no word of it is exchanged.
_OF_WORDS = re.compile(
    "(?:怎么|如何|怎样)(?:说|回答|[写读念](?:[?。!呢啊吗]|$))|造句|拼音|笔画|部首|成语|词|读音|回复|含义|叫做|叫什么|意思|"
    "是英[语文]|[汉生]字|多音字|错别字"
)
_OF_TEXTS = re.compile("翻译|改写|润色|句子|这句")
_ASKING = re.compile(ASKS)
_WH = re.compile(WH)
_ASKS_AT_ALL = re.compile(rf"{ASKS}|([^\W\d_])不\1|还是")
_END = re.compile(rf"(?<=[{HAN}{_HELD}])[?。!….]+$|(?<=[A-Za-z]{{2}})[?。]+$")
_INSIDE = re.compile(r"[。!?;…].")


def _rules(*pairs: tuple[str, str]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern), full) for pattern, full in pairs]


_FRONT = _rules(
    ("^(?:我?想)?(?:请教|咨询|问)(?:一下|下|你|您)?,", ""),
    ("^(?:你好|您好|嗨|哈喽|大家好|不好意思|打扰一下|打扰了)[,!。~]+", ""),
    (f"^(?:麻烦)?请问(?:一下|下)?,?(?![是的,])(?=.*(?:{WH}|吗|不))", ""),
    (f"^我?想(?:知道|问)(?:一下|下)?,?(?=.*(?:{WH}))", ""),
    (f"^(?:请你?|麻烦你?)?告诉我(?:一下)?,?(?=.*(?:{WH}))", ""),
)
_REQUESTED = re.compile(
    f"^你?(?:能不能|可不可以|能否|能|可以)(?:麻烦你?)?(?:帮我|给我|替我)((?:{MAKING})(?:(?!{ASKS}).)+)吗?$"
)
_EXPLAINED = re.compile(
    "^请?(?:解释|说明)(?:一下)?(?=什么是)"
    f"|^(?:请(?:解释|说明)(?:一下)?|(?:解释|说明)一下)(?=(?:(?!{ASKS}).){{2,12}}是什么$)"
)
_SEVERAL = re.compile("几(?=[个首本部条种款家篇句件道])")
_BACK = re.compile("[,。!?]+(?:谢谢(?:你|您|了|啦)?|多谢|拜托了?)[!。~]*$")
_POLITE = re.compile("^(?:请(?:你|您)?|麻烦(?:你|您)?)?(?:帮我|帮忙|给我|替我)?")
_REQUEST = re.compile(f"^(?:{MAKING}|(?:{BY_MEANS}).*(?:{MAKING}|实现)|(?:简单|简要|详细)(?:{TELLING}))")
_ASKING_REQUEST = re.compile(f"^(?:(?:{BY_MEANS}|给).{{1,12}})?(?:{TELLING})")
_LEAN = _rules(
    (f"({MAKING})一下(?![子午班步个次周列面级属载雨雪课])", r"\1"),
    ("(?<=[讲说谈])一下(?![子午班步个次周列面级属载雨雪课])", ""),
    ("(?<!小)([讲说谈])一?\\1", r"\1"),
    (
        "(?:(?<=[写讲画编列做])|(?<=推荐|设计|实现|生成))一"
        "(?=个(?![人别体性案股])|封(?!面)|首(?![都先页要发])|篇(?!幅)|段(?!落)|份(?![额子])|条(?![件例款目约])|部(?![分门队落件署])|款(?![式项待]))",
        "",
    ),
    (f"^((?:讲|写|推荐|画|编|列)(?:(?!{ASKS}).)+)给我$", r"\1"),
    ("^[用以]表格的?形式", "用表格"),
    (f"^(用[^,]{{1,8}}?)[帮给替]我(?={MAKING})", r"\1"),
    ("^以(?=[\\w ]{1,12}(?:格式|形式))", "用"),
    (f"(?<![A-Za-z])({LANGUAGES})语言", r"\1"),
)
_VARIANTS = _rules(
    ("啥", "什么"),
    ("为什么|(?<![行认作成因])为何(?![时处物人种])", "为什么"),
    ("什么时间(?!段)|(?<!为)何时", "什么时候"),
    ("咋(?!舌)", "怎么"),
    ("(?<=[在去到])哪(?![里儿个些位种天年月家国座所条部本款一几边方路只类样吒])|哪儿", "哪里"),
    ("多长时间|多少时间", "多久"),
    ("(?:星期|礼拜)[天日]|周日(?![常期子程本元报记])", "星期日"),
    ("(?<![每一两三四五六七八九十\\d几上下本这])(?:星期|礼拜|周)([一二三四五六])(?![次天个回年月])", r"星期\1"),
    ("(春|夏|秋|冬)天(?!的)", r"\1季"),
    ("一共(?=有?多少|有几)|总共(?=有?多少|有几)", ""),
    ("等于(?=多少|几)", "是"),
    ("(?<![参赠授给])与(?![其否会日众])", "和"),
    ("帐(?=号|户|单)", "账"),
    ("您", "你"),
    ("(?<=[\\d几少])个小时", "小时"),
    ("(?<![什怎这那多要甚])么$", "吗"),
    ("有何(?=[^\\W\\d]{2})", "有什么"),
    ("(?:大概|大约)(?=[要需花]{0,3}(?:多少|几|多久))", ""),
    ("(?<=一[点会])儿|(?<=有点)儿", ""),
    ("(?<=[这那])儿", "里"),
    ("(?<=哪[个种家款])(?:更加?|比较)(?=.)", ""),
    ("(?:(?<=多少)|(?<=几))[位名](?=[^\\W\\d]{1,3}?[人者员师生帝家手官统])", "个"),
    ("哪国人$|哪个国家的$", "哪个国家的人"),
    ("(?<=是)哪$", "哪里"),
    ("(?<=\\d)是几$", "是多少"),
    ("((?:什么|哪).*)比较好$", r"\1好"),
    ("(?<=[^对相]比)(?![特如较例赛萨喻基尼利亚重分率])(.{1,8}?)更(?=.)", r"\1"),
    (f"(?<=[{HAN}]{{2}})的时候,?(?=可以|能)", ""),
    ("(?:什么|哪些)情况下?(?=[可能会要不需应])", "什么情况"),
    ("(?<=\\d)(?:千克|kg(?![A-Za-z]))", "公斤"),
    ("(?<=\\d)(?:千米|km(?![A-Za-z/]))", "公里"),
    ("(?<=\\d)°C", "摄氏度"),
    ("百分之(\\d+)", r"\1%"),
    ("(?<!个)半个?小时", "30分钟"),
)
# 怎么 of these asks why, and 如何 never does.
_BEFALLS = "发[烧烫热抖痒炎胖]|停[电水]|下[雨雪]|[疼痛痒黑死卡响哭坏掉漏肿咳吐晕慢贵少多大小红]|[搞弄]的"
_MANNER = re.compile(
    f"(?:怎么|怎样)(?!{_BEFALLS}|[不没还这那会又老总就都能可是了样着回得敢肯好办卖么的想啦]|才(?!能|可以)|$)(?!.*了)"
)
# A topic and what is asked of it, with a comma between or none.
_TOPIC = re.compile(
    f"(?<=[{HAN}]{{3}})(?<![不没别是对说好行要吗]),(?=(?:怎么|如何|可以|能不能|应该怎么|有什么|有哪些|为什么|哪|多少|是不是|是否)[^,]{{2}})"
)
_HOW_COME = re.compile(f"^(?:怎么|怎样)(?:{PRONOUN})")
_WAYS = _rules(
    ("如何$", "怎么样"),
    (f"^((?!.*(?:{PRONOUN})).*?)(?:应该|应当|该|要(?=怎么办|如何(?:[走去做选填]|{OPERATIONS})))(?=如何|怎么办)", r"\1"),
    ("如何才(?:能|可以)(?=.)", "如何"),
    ("如何用$", "如何使用"),
    ("如何关$", "如何关闭"),
    ("如何开$", "如何打开"),
    ("(?<=如何)开启", "打开"),
    ("^将(?![军来近要会士领就相至有被是])", "把"),
    ("(?<=[请何我想])将(?![军来近要会士领就相至有被是])", "把"),
)
_CAN = re.compile(
    "(?<![可功性智才万核节热电动职技效官潜体低高本全权机势只不产异很最真太多风光水氢内无逞贤未])(?<!太阳)(?<!原子)(?<!化学)(?<!机械)"
    "能够?(?![力量源干耗手见级人动否够])"
)
_NEED = re.compile(f"需要(?=提前|带什么|准备什么|注意什么|[^\\W\\d]{{0,2}}(?:几|多久|多少(?:{OF_TIME_OR_LENGTH}|钱)))")
_SOMEBODY = re.compile(f"{PRONOUN}|(?:{AGENT_ENDS})需要")
_AMOUNT = re.compile("多|几")  # what he can drink is not what he may
_HOW_MANY = re.compile(f"(?<![第好十百前后近过头这那上下每隔])几(?=(?:{OF_TIME_OR_LENGTH})(?![没不以之来后前内未]))")
_EMBEDS = re.compile(
    "知|说|问|看|想(?!不想)|判断|确[定认]|查|测|讨论|决|无论|管|不论|觉得|以为|认为|告诉|听|希望|担心|了解|分|考虑|研究|介绍|解释|描述|"
    "懂|写|关于|证明|论|谈|争|猜|算|检"
)
_A_NOT_A = re.compile(r"([^\W\d_动时三差])不\1|可不可以|(?<!没)有没有|[是能可]否(?![认决定])")
_BEFORE_ADVERB = "(?=比|很|会|能|可以|要|有|在|应该|真|都|也|更|最|必须|需要|不|没|太|越)"
_YES_NO = _rules(
    (f"是不是{_BEFORE_ADVERB}", ""),
    ("可不可以|可否(?![认决定])", "可以"),
    ("能否(?![认决定])", "能"),  # but 能否认: can deny, or whether to recognize
    ("是否(?![认决定])", ""),
    ("有没有", "有"),
    (r"([^\W\d_动时三差])不\1", r"\1"),
)
_THING = f"(?:(?!{ASKS}|{PRONOUN}|[,]).){{1,16}}?"
_OF_AGENT = re.compile(f"(?:{AGENT_ENDS})(?:$)")
_LATIN = r"[A-Za-z][A-Za-z0-9.+#_]*(?: [A-Za-z0-9.+#_]+){0,3}"
_OF = _rules(
    ("(.{2,})是什么原因(?:(?:造成|引起|导致)的)?$", r"\1的原因是什么"),
    (f"(?<=\\d(?:元|岁|年|字|月))的(?=[{HAN}]{{2}})|(?<=\\d(?:个月|公里|世纪|年代))的(?=[{HAN}]{{2}})", ""),
    (f"(?<=[{HAN}\\w]{{2}})的(?=(?:{RELATIONS})(?:是|有|在|多|怎么|如何|和|$))", ""),
    (f"({_LATIN})(?:的|里面的?|里的?|中的?)(?={_LATIN})", r"\1的"),
    (f"^({_HELD})的作者是谁$", r"\1是谁写的"),
    ("(?<=首都|省会)是(?:什么|哪个城市|哪座城市)$", "是哪里"),
)
_LISTS = _rules(
    ("^(.+)跟(?![单踪随进])(.+?)(?=的?(?:区别|不同|差别|差异)|有(?:什么|哪些)(?:区别|不同|差别|差异))", r"\1和\2"),
    (
        "(?<=.)(?:(?<![有没无])的?(?:区别|差别)$|的(?:区别|不同|差别|差异)(?:是什么|有哪些)?|(?:区别|差别)(?:是什么|有哪些)|有(?:什么|哪些)(?:区别|不同|差别|差异))$",
        "有哪些区别",
    ),
    (
        "有什么(?=[^\\W\\d]{2})(?!关系|意义|意思|用|了不起|事|好[看吃玩喝听笑]?的?$|可以|要|没|道理|必要|资格|本事|稀奇|奇怪|可怕|大不)",
        "有哪些",
    ),
    (f"^((?:(?!{ASKS}).)+)的((?:(?!的).){{2,4}})有(?:哪些|什么)$", r"\1有哪些\2"),
    (f"^((?:(?!{ASKS}).)+?)的?({LISTED})(?:有哪些|有什么|是什么|是哪些)$", r"\1有哪些\2"),
    (f"^什么是((?:(?!{ASKS}|[我你他她它这那,。!?是]).){{2,20}})$", r"\1是什么"),
    ("^从(?![来前此小事业没未不容])(?=.{1,10}到)", ""),
    ("的?价[格钱](?:是|为)?多少$", "多少钱"),
    ("^在(?=哪里可以)", ""),
)
_WHY = re.compile(
    f"^((?:(?!{ASKS}|[说想觉认知问看听讲以道怕希让叫使信猜记忘担教写研析找查懂白楚释,。!?]).){{1,10}})为什么(?!{PRONOUN})(?=.)"
)
_PLACES = _rules(
    (f"^({_LATIN})如何使用$", r"如何使用\1"),
    (f"^如何用({_LATIN})$", r"如何使用\1"),
    (f"^用({_LATIN})如何(?=.)", r"如何用\1"),
    (f"^(?:在)?({_LATIN})(?:里面|里|中)如何(?=.)", r"如何在\1里"),
    (f"^如何在({_LATIN})(?:里面|里|中)(?=.)", r"如何在\1里"),
    (f"^如何在({LANGUAGES})里(?=.)", r"如何用\1"),
    (f"^({LANGUAGES})如何(?=(?:{PROGRAMMED}).{{2}})", r"如何用\1"),
    (f"^(.{{1,8}}(?:{FOOD_ENDS}))(?:如何做|的做法(?:是什么)?)$", r"如何做\1"),
    (f"^({_LATIN}(?:命令|函数|方法|参数|选项|关键字)?)(?:有什么用处?|是[做干]什么用?的|是干嘛的)$", r"\1有哪些作用"),
)
_OBJECT_FIRST = re.compile(
    f"^({_THING})如何({OPERATIONS}|[养修换洗删装选])$|^如何把({_THING})({OPERATIONS}|[养修换洗删装选])$"
)
_TURNED_INTO = re.compile(f"^({_THING})如何((?:转换|换算|兑换|转化|[转换变改切做])成{_THING})$")
_MEANING = re.compile(f"^({_LATIN}|{_HELD})的(?:意思|含义)是什么$")
_SIDE = f"((?:(?!{ASKS}|[的和{_HELD}]).){{1,12}}?)"
_BOTH_SIDES = re.compile(f"^{_SIDE}和{_SIDE}(有哪些区别|哪个好)$")
_TONGUE = r"([^\W\d]{1,4}[语文话])"
_SAID_IN = re.compile(f"^用{_TONGUE}(怎么|如何)说(?=.)(.+)$|^{_TONGUE}的({_HELD})(怎么|如何)说$")


def bare_chinese(text: str) -> str:
    """What decides the answer: characters in order."""
    held = _QUOTED.findall(text)
    said = _SPACE_BETWEEN.sub("", " ".join(_QUOTED.sub(_HELD, text).split()))
    if '"' in said or "`" in said:
        return ""  # a quotation that nobody closed
    if ":" not in said:
        said = _folded(said)
    is_enough = len(_PIECE.findall(said)) >= 4
    for span in held:
        said = said.replace(_HELD, span, 1)
    return said if is_enough else ""


def _folded(said: str) -> str:
    if _OF_WORDS.search(said):
        said = _END.sub("", said) if _ASKING.search(said) else said
        said = _SAID_IN.sub(lambda m: f"{m[3] or m[5]}用{m[1] or m[4]}{m[2] or m[6]}说", said)
        return _MEANING.sub(r"\1是什么意思", said)
    said = _BACK.sub("", said)
    if _ASKS_AT_ALL.search(said) or not said.endswith("?"):
        said = _END.sub("", said)  # 你在家？ asks and 你在家。 tells
    for _ in range(3):
        said = _rewritten(said, _FRONT)
    if len(said) > _MOST_CHARS or _INSIDE.search(said):
        return said
    said = counted(_rewritten(_asked_for(said), _LEAN))
    return said if _OF_TEXTS.search(said) else _question(said)


def _rewritten(said: str, rules: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, full in rules:
        said = pattern.sub(full, said)
    return said


def _asked_for(said: str) -> str:
    """Without the politeness of a request: 请帮我写, 请用一句话解释."""
    said = _EXPLAINED.sub("", _REQUESTED.sub(r"\1", said))
    rest = _POLITE.sub("", said, count=1)
    asks_too = _ASKING.search(_SEVERAL.sub("", rest)) is not None
    return rest if (_ASKING_REQUEST if asks_too else _REQUEST).search(rest) else said


def _question(said: str) -> str:
    said = _rewritten(said, _VARIANTS)
    said = _TOPIC.sub("", said) if not _EMBEDS.search(said) else said
    if _WH.search(said) or _A_NOT_A.search(said):
        said = re.sub("(?<=[^毛花])[呢啊呀]$", "", said)
    if not _HOW_COME.search(said):
        said = _MANNER.sub("如何", said)
    said = _rewritten(_rewritten(said, _WAYS), _OF)
    said = _yes_no(said)
    is_of_somebody = _SOMEBODY.search(said) is not None
    if _ASKING.search(said) and not (is_of_somebody and _AMOUNT.search(said)):
        said = _CAN.sub("可以", said)
    if not is_of_somebody:
        said = _NEED.sub("要", said)
    if len(_WH.findall(said)) == 1 and "吗" not in said:
        said = _HOW_MANY.sub("多少", said)
    said = _rewritten(said, _LISTS)
    said = _rewritten(_WHY.sub(r"为什么\1", said), _PLACES)
    said = _TURNED_INTO.sub(lambda m: m.group() if _OF_AGENT.search(m[1]) else f"如何把{m[1]}{m[2]}", said)
    return _BOTH_SIDES.sub(_sorted, _OBJECT_FIRST.sub(_behind, said))


def _sorted(match: re.Match[str]) -> str:
    return "和".join(sorted((match[1], match[2]))) + match[3]


def _yes_no(said: str) -> str:
    """能不能去, 是否能去 and 能去吗 are one question, where it is the only one."""
    if _WH.search(said) or said.endswith("吗") or _EMBEDS.search(said) or len(_A_NOT_A.findall(said)) != 1:
        return said
    return _rewritten(said, _YES_NO) + "吗"


def _behind(match: re.Match[str]) -> str:
    """The thing behind what is done to it, unless it can do something itself."""
    thing, operation = match[1] or match[3], match[2] or match[4]
    return match.group() if match[1] and _OF_AGENT.search(thing) else f"如何{operation}{thing}"
