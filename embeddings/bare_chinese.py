"""The bare form of Chinese: 请问如何打开深色模式？ and 深色模式怎么开启 are 如何打开深色模式.

Politeness, particles and aspect marks go; words that ask the same become one. 如何, 为什么 and 什么时候 may stand
before or behind what they ask about, so they are named at the end, while 谁, 什么, 哪里 and numbers stay where they
are: 谁打败了曹操 is not 曹操打败了谁.
"""

import re

from embeddings.guards.numbers import spelled_units
from embeddings.text import HAN

_CODE_SPAN = re.compile(r"`([^`]*)`")
_SPACE_BETWEEN = re.compile(rf"\s+(?=[{HAN}])|(?<=[{HAN}])\s+")
_MARKS = ",.。、!?:;…~《》「」『』\"'()【】"
_PUNCTUATION = re.compile(rf"[{_MARKS}]+(?=\s|$|[^\x00-\x7f])|(?<=[^\x00-\x7f])[{_MARKS}]+|[《》「」『』【】。、\"]")

_TALK = (
    "请问一下|请问|你好|您好|嗨|哈喽|大家好|各位好|不好意思|打扰一下|打扰了|劳驾|麻烦了|麻烦你|麻烦您|麻烦|谢谢你|谢谢您|谢谢了|"
    "有人知道|谁知道|你知道|您知道|知不知道|求问|求助|"
    "请教一下|请教|问一下|问下|咨询一下|咨询下|我有个问题|有个问题"
)
_WANT = (
    "我?(?:很|特别|真的)?(?:想要|想|希望)(?:你|您)?"
    "(?:问问|问|知道|了解|咨询|请教|搞清楚|弄清楚|弄明白)(?:一下|下|的是)?"
)
_CAN = "(?:你|您)?(?:可以|能不能|能否|可不可以|能够|能|可否)?"
_ASK = f"{_CAN}请?(?:你|您)?(?:帮我|帮忙|帮(?![助派会手])|给我|替我|为我)(?:个忙)?(?=[^\\W\\d_])"
_TELL = f"{_CAN}请?(?:告诉我|跟我说说|和我说说|跟我讲讲)(?:一下|下)?"
_FRONT = re.compile(rf"^(?:(?:{_TALK}|{_WANT}|{_TELL}|{_ASK}|好的|嗯|那么|请你|请您|请|关于)\s*)+")
_BACK = re.compile(r"(?:\s(?:谢谢你|谢谢您|谢谢了|谢谢|多谢|感谢|可以吗|行吗|好吗)|能告诉我吗)+$")
_PARTICLE = re.compile("(?:呢|啊|呀|(?<![酒网])吧|嘛|哦|噢|啦|喔|吗|的|了|(?<=[^要])不|没有)+$|(?<=[^什怎这那多要])么$")

_SAME = [
    (re.compile(pattern), full)
    for pattern, full in (
        ("一下子?|(?<=[绍明释说讲看查算写])下(?![午面次个载来去])", ""),
        ("([讲说谈看试想聊])一?\\1", r"\1"),
        ("可不可以|能不能|可否|能否|可以|能够", "能"),
        ("([会是要开用对该想])[不没]\\1", r"\1"),
        ("有没有", "有"),
        ("(?:应该|应当|该|要|得|需要|可以|能|我){0,3}(?:怎么样|怎样|怎么|如何|咋样?)(?:才能|才)?(?!会|了|回事)", "如何"),
        ("为啥|为何|为什么会|怎么会|怎么回事|什么原因", "为什么"),
        ("什么时间|何时|啥时候|啥时间|几时", "什么时候"),
        ("哪儿|什么地方|何处|啥地方|在哪(?![里儿个些家位])", "哪里"),
        ("(?:是)?在?哪里(?=.)", "哪里"),
        ("在?哪里$", "哪里"),
        ("多长时间|多少时间", "多久"),
        ("哪些|啥|哪几[个种]", "什么"),
        ("什么情况下", "什么情况"),
        ("什么的?样子?的", "什么"),
        ("([春夏秋冬])季(?!节)", r"\1天"),
        ("哪个国家", "哪国"),
        ("以(?=[a-z]+格式)", "用"),
        ("多少(?=[个种条家位只部款台件间次天周月年岁])", "几"),
        ("多少(?=(?:小时|分钟|公里))", "几"),
        ("几个(?=小时|月)", "几"),
        ("几[位名]", "几个"),
        ("是(?=(?:在?哪里|谁|什么时候|如何).)", ""),
        ("给我$", ""),
        ("(?:一共|总共|(?<![首成])都)(?=有|是|几|多)", ""),
        (
            "(?:需要|应该|应当|(?<![重主必只])要|(?<![应活])该|(?<=什么)会|(?<![奥机社学不晚聚协开])会(?=消耗|发生|有))"
            "(?![点求素闻领塞害员议计])"
            "(?=[有几多哪花用做吃穿带是看开烤打先]|什么|准备|注意|提前|消耗|发生)",
            "",
        ),
        ("(?<=[^重主需])要(?=多|几|什么)", ""),
        ("将(?=.+(?:成|为|到|给))", "把"),
        ("(?:转换|转化|转变|转)(?:成|为)|换成", "转成"),
        ("翻译(?:成|为|到)|译成|译为", "翻译成"),
        ("(?:进行|做个|作一个)", ""),
        ("使用", "用"),
        ("(?:星期|礼拜|周)(?:日|天)", "周日"),
        ("星期|礼拜", "周"),
        ("月份", "月"),
        ("(?<=\\d)[日号](?!\\w)|(?<=月\\d)[日号]|(?<=月\\d\\d)[日号]", "号"),
        ("(?<=\\d)(?:块钱|元钱|块|元人民币)", "元"),
        ("(?<=\\d)(?:千克)", "公斤"),
        ("(?<=\\d)(?:千米|km)(?![a-z])", "公里"),
        ("(?<=\\d)(?:cm|公分)(?![a-z])", "厘米"),
        ("(?<=\\d)(?:kg)(?![a-z])", "公斤"),
        ("(?<=\\d)(?:℃|°c|度c|摄氏度)", "摄氏度"),
        ("(?<=\\d)kg", "公斤"),
        ("打开|开启|启用", "打开"),
        ("关闭|关掉|停用", "关闭"),
        ("(?<=[^\\W\\d_])(?:跟|与|以及|还有|同)(?=[^\\W\\d_].*(?:区别|不同|差别|差异|比|哪个|一样))", "和"),
        ("差别|差异|不同(?=$|之处|的?吗)|不同之处|不一样", "区别"),
        ("著名|知名|出名", "有名"),
        ("计算", "算"),
        ("等于(?=多少|几)", "是"),
        ("等于", "是"),
        ("或者(?:是|说)?|还是说", "还是"),
        ("好不好", "好"),
        ("登陆", "登录"),
        ("账户|帐号|帐户|账号", "账号"),
        ("因为什么", "为什么"),
        ("比较|一些|有点儿?|稍微|其实|到底|究竟|具体|通常|一般(?:来说)?", ""),
        ("(?:实现|编写|撰写|书写)(?=一|\\d|个|首|篇|封)", "写"),
        ("一(?=[首封篇个份条段张本部款种位名只台件][^\\W\\d_])", ""),
        ("(?<=\\d)(?:[个首封篇份条段张部款种名只台件]|位(?!数)|本(?!大学|院校|线|高校|科))(?=[^\\W\\d_])", "个"),
        ("(?<=写)个(?=[^\\W\\d_])", ""),
        ("(?<=写)[首封篇份条段](?=[^\\W\\d_])", ""),
    )
]  # fmt: skip
_PIECE = re.compile(rf"[{HAN}]|[^\W{HAN}]+")
_WHAT_IS = re.compile("^什么(?:是|叫做|叫)(.+)$")
_WHO_IS = re.compile("^谁(是.+)$|^(.+)是谁$")
_HAS_WHAT = re.compile("^(.+?)(?:(?<![首成])都)?有什么([^\\W\\d_]{2,6})$")
_LIST_NOUN = (
    "好处|坏处|症状|习俗|区别|特点|优点|缺点|优势|劣势|作用|意义|影响|原因|方法|特产|功能|用途|步骤|条件|含义|特征"
)
_NOUN_IS_WHAT = re.compile(f"^(.+?(?:{_LIST_NOUN}))(?:包括|是|有)什么$")
_FREE = re.compile("如何|为什么|什么时候")  # adverbs: they stand before the verb or before everything
_AUTHOR = re.compile("^(?:谁是(.+?)作者|谁写(.+)|(.+?)作者是谁|(.+?)是?谁写)$")
_TONGUE = "[^\\W\\d_]{1,4}?[语文话]"
_SAY = re.compile(f"^如何说(?:(.+?)(?:用|在)({_TONGUE})|({_TONGUE})(.+))$")
_TAKE = re.compile(
    "(?:把|对)(.+?)(拉黑|删除|打开|关闭|取消|注销|卸载|安装|升级|重置|恢复|导出|导入|清空|排序|屏蔽|置顶)$"
)
_TAIL = re.compile(f"^([{HAN}\\w]{{2,}}?)如何([{HAN}]{{1,3}})$")
_WEAK = re.compile(
    "的(?![士确])|了(?![解结不])|^从(?=.+[到去飞])|^在(?=.)|^我(?!们)|(?<=[^\\W\\d_])才(?=好|能)|"
    "(?<=[^\\W\\d_])(?:里面|当中|中|里)(?=如何|什么|[A-Za-z])|我(?=的)"
)


def bare_chinese(text: str) -> str:
    """What decides the answer: characters in order, the adverbs that ask at the end."""
    said = _CODE_SPAN.sub(lambda m: m[1].replace(" ", "_"), text)
    said = _SPACE_BETWEEN.sub("", spelled_units(said.lower()))
    said = _PUNCTUATION.sub(" ", said).strip()
    for _ in range(3):
        before = said
        said = _FRONT.sub("", said)
        said = _PARTICLE.sub("", _BACK.sub("", said)).strip()
        if said == before:
            break
    said = _SPACE_BETWEEN.sub("", said)
    for pattern, full in _SAME:
        said = pattern.sub(full, said)
    said = _placed(_PARTICLE.sub("", said))
    return said if len(_PIECE.findall(said)) >= 4 else ""


def _placed(said: str) -> str:
    """Words that ask, in one place."""
    said = _WEAK.sub("", said)
    said = _WHAT_IS.sub(r"\1是什么", said)
    said = _AUTHOR.sub(lambda m: f"谁写{m[1] or m[2] or m[3] or m[4]}", said)
    said = _WHO_IS.sub(lambda m: f"谁{m[1]}" if m[1] else f"谁是{m[2]}", said)
    said = _HAS_WHAT.sub(r"\1\2有什么", said)
    said = _NOUN_IS_WHAT.sub(r"\1有什么", said)
    said = _TAIL.sub(r"如何\2\1", said)
    said = _TAKE.sub(r"\2\1", said)
    said = _SAY.sub(lambda m: f"如何用{m[2] or m[3]}说{m[1] or m[4]}", said)
    said = re.sub(f"^用({_TONGUE})如何说", r"如何用\1说", said)
    asked = sorted(_FREE.findall(said))
    said = _SPACE_BETWEEN.sub("", _FREE.sub("", said))
    return said + "".join(f" {word}" for word in asked)
