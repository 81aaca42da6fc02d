"""The bare form of Chinese: 请问怎样打开深色模式？ and 深色模式怎么打开呢 are 如何打开深色模式.

Only what surely means nothing goes: a greeting before a comma, 请问, 谢谢 behind one, the end mark, 呢 behind a word
that asks. 请假 is no politeness and 你好是什么意思 no greeting. What is quoted, or stands behind a colon, stays to the
letter; so does a question about words themselves.
"""

import re

from embeddings.text import HAN

_QUOTED = re.compile(r"`[^`]*`|\"[^\"]*\"|'[^']*'|《[^》]*》|「[^」]*」|『[^』]*』|【[^】]*】")
_HELD = "\ue100"
_SPACE_BETWEEN = re.compile(rf"\s+(?=[{HAN}])|(?<=[{HAN}])\s+")
_ABOUT_WORDS = re.compile(
    "翻译|意思|怎么[说写读念]|如何[说写读念]|怎样[说写读念]|造句|改写|润色|拼音|笔画|部首|成语|词|句|英[语文]|读音|回复|含义|叫做|歌"
)
_ASKS = "什么|谁|哪|怎么|怎样|如何|多少|几|多久|多[大高长远]"
_ASKING = re.compile(f"{_ASKS}|吗|是否|有没有|是不是|能不能|可不可以|能否|可否|啥|何")
_END = re.compile(rf"(?<=[{HAN}])[?。!….]+$|(?<=[A-Za-z]{{2}})[?。]+$")
_FRONT = [
    re.compile(pattern)
    for pattern in (
        "^(?:你好|您好|嗨|哈喽|大家好|不好意思|打扰一下|打扰了)[,!。~]+",
        f"^(?:麻烦)?请问(?:一下|下)?,?(?![是的,])(?=.*(?:{_ASKS}|吗|不))",
        f"^我?想(?:知道|问)(?:一下|下)?,?(?=.*(?:{_ASKS}))",
        f"^(?:请你?|麻烦你?)?告诉我(?:一下)?,?(?=.*(?:{_ASKS}))",
    )
]
_BACK = re.compile("[,。!?]+(?:谢谢(?:你|您|了|啦)?|多谢|拜托了?)[!。~]*$")
_NE = re.compile(f"^(.*(?:{_ASKS}).+)呢$")
_THING = "打开|关闭|设置|安装|卸载|下载|删除|取消|注销|重置|恢复|清空|导出|导入|升级"
_HOW = re.compile(rf"(?:怎么|怎样)(?=(?:{_THING}|开启|使用|制作|计算|修改|注册|登录|更换|申请|办理))")
_HOW_LAST = re.compile(f"^((?:(?!{_ASKS}|[,。!?]).){{2,12}})如何({_THING})$")
_WHAT_IS = re.compile(f"^什么是((?:(?!{_ASKS}|[我你他她它这那,。!?是]).){{2,20}})$")
_WHY = re.compile("^([^\\W\\d_我你他她它说想觉认知问看听讲以,。!?]{1,4})为什么(?=.)")
_NUMERAL = "零一二三四五六七八九十百千万亿两半几第周\\d."
_COUNT = re.compile(f"(?<![{_NUMERAL}])([两三四五六七八九])(?=(?:公里|公斤|厘米|分钟|小时|个月)(?!半))")
_DIGITS = dict(zip("两三四五六七八九", "23456789", strict=True))
_PIECE = re.compile(rf"[{HAN}]|[^\W{HAN}]+|{_HELD}")


def bare_chinese(text: str) -> str:
    """What decides the answer: characters in order."""
    held = _QUOTED.findall(text)
    said = _SPACE_BETWEEN.sub("", " ".join(_QUOTED.sub(_HELD, text).split()))
    if '"' in said or "`" in said:
        return ""  # a quotation that nobody closed
    if ":" not in said and not _ABOUT_WORDS.search(said):
        said = _folded(said)
    is_enough = len(_PIECE.findall(said)) >= 4
    for span in held:
        said = said.replace(_HELD, span, 1)
    return said if is_enough else ""


def _folded(said: str) -> str:
    said = _BACK.sub("", said)
    if _ASKING.search(said) or not said.endswith("?"):
        said = _END.sub("", said)  # 你在家？ asks and 你在家。 tells
    for _ in range(3):
        for front in _FRONT:
            said = front.sub("", said)
    said = _NE.sub(r"\1", said)
    said = _COUNT.sub(lambda m: _DIGITS[m[1]], said)
    said = _HOW.sub("如何", said).replace("如何开启", "如何打开")
    said = _HOW_LAST.sub(r"如何\2\1", said)
    said = _WHAT_IS.sub(r"\1是什么", said)
    return _WHY.sub(r"为什么\1", said)
