"""Does one text say the opposite of a word of the other?

`SIDES` are pairs of opposites, each side a set of words that mean about the same here. A text is refused when it holds
only the one side and the other text only the other.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from embeddings.text import han, latin_words, stem

# English words stand for all their regular endings: `stem` cuts the table and the text alike.
_SIDES = """
enable activate turn_on | disable deactivate turn_off
open | close shut
increase grow grew growth maximize maximise raise rise rose | decrease reduce reduction shrink lower drop fall fell
minimum min minimal smallest least lowest fewest | maximum max maximal largest biggest greatest highest most
before prior | after following
buy bought purchase | sell sold sale
start begin began beginning | stop stopped stopping end finish
install | uninstall remove
lock | unlock
add adding append insert | remove delete
upload | download
import | export
encrypt encryption | decrypt decryption
encode encoder | decode decoder
compress compression | decompress decompression extract
send sent | receive
push | pull
login log_in sign_in | logout log_out sign_out logoff
accept approve | reject decline refuse deny denied
allow permit permitted | forbid forbidden block prohibit ban banned
win won winning winner | lose lost loser
love | hate
male man men boy he his him husband father son brother | female woman women girl she her wife mother daughter sister
mother | father
first earliest | last latest
oldest older elder eldest | youngest younger
old | new
hot hottest hotter heat | cold coldest colder
join joined joining | leave left
soft softer | hard harder
asleep sleep | awake wake
thick thicken | thin
tighten | loosen
expand expanded | shrink contract
archive | unarchive
eligible | exempt
gain | lose
legal | illegal
married | single unmarried
big large huge | small tiny little
high higher | low lower
long longer longest | short shorter shortest
fast faster fastest | slow slower slowest
cheap cheaper cheapest | expensive
rich richest | poor poorest
good best better | bad worst worse
advantage pros benefit strength | disadvantage cons drawback weakness downside
positive | negative
true | false
success succeed successful | failure fail unsuccessful
inside indoor within | outside outdoor
above over | below under
more | less fewer
ascend ascending | descend descending
horizontal horizontally | vertical vertically
internal | external
input | output
public | private
read | write
client | server
parent | child children
local | remote
synchronous sync | asynchronous async
single | double
cause | effect
teacher | student
employer | employee
attack | defend
borrow | lend lent
deposit | withdraw withdrawal
credit | debit
profit | loss
income | expense
supply | demand
hire | fire
encourage | discourage
strengthen | weaken
speed_up accelerate | slow_down decelerate
arrive arrival | depart departure leave
different | similar same
source | destination target
even | odd
winter | summer
day daytime | night nighttime
morning | evening
yesterday | tomorrow
yesterday | today
today | tomorrow
left | right
top | bottom
turn_up up | turn_down down
north northern | south southern
east eastern | west western
upgrade | downgrade
mute | unmute
show | hide hidden
subscribe | unsubscribe cancel
online | offline
warm | cool
wet | dry
gain | lose lost
heavy heavier | light lighter
strong stronger | weak weaker
safe | dangerous unsafe
domestic | foreign international
predator | prey
singular | plural
numerator | denominator
acid acidic | base basic alkaline
multiply | divide
addition | subtraction
multiplication | division
inhale | exhale
serial sequential | parallel
static | dynamic
mutable | immutable
keep retain preserve | discard
all every everyone everybody | some someone somebody
tall taller tallest | short shorter shortest
wide wider widest | narrow narrower narrowest
deep deeper deepest | shallow shallower shallowest
dark darker darkest | light lighter lightest
front | back
forward | backward
cure relieve treat heal soothe | cause trigger worsen aggravate
arrest | release
ask question | answer
ancient | modern
natural | artificial
alive living | dead
awake | asleep
beautiful pretty | ugly
better improve | worse worsen
boy boys | girl girls
bright | dim
busy | idle
clean | dirty
complex complicated | simple
create | destroy
defend protect | attack
ebb | flow
empty | full
enter | exit
failure | success
fresh | stale frozen
front | rear
frozen freeze | thaw melt
guilty | innocent
happy | sad unhappy
hero | villain
import | export
include | exclude
inhale | exhale
landlord | tenant
latest | oldest
major | minor
majority | minority
maximum | minimum
mortal | immortal
optimist optimistic | pessimist pessimistic
passive | active
plural | singular
plus | minus
present | absent
pass passed passing | fail failed failing
quiet silent | loud noisy
raw | cooked
sweet | sour bitter
sharp | dull blunt
smooth | rough
straight | curved
sunrise | sunset
temporary | permanent
tight | loose
together | apart
urban | rural
vacant | occupied
victory | defeat
visible | invisible hidden
voluntary | compulsory mandatory
inflate inflation | deflate deflation
zoom_in | zoom_out
wholesale | retail
ceiling | floor
inbound | outbound
incoming | outgoing
junior | senior
novice beginner | expert
known | unknown
literal | figurative
lend | borrow
add adding | subtract
gain | loss
gross | net
manual manually | automatic automatically
oldest | newest
inner | outer
sender | recipient receiver
buyer | seller
lender | borrower
minor | adult
since | until till
int integer | float
list | tuple
"""
_HAN_SIDES = """
打开 开启 启用 激活 | 关闭 关掉 禁用 停用
增加 提高 提升 上升 上涨 | 减少 降低 下降 下跌
最大 最高 最多 最贵 | 最小 最低 最少 最便宜
之前 以前 | 之后 以后
购买 买入 买 | 出售 卖出 卖
男 | 女
左 | 右
进口 | 出口
免费 不要钱 | 收费 付费
以上 大于 高于 超过 | 以下 小于 低于 少于
上午 早上 | 下午 晚上
国内 | 国外
优点 优势 好处 | 缺点 劣势 坏处
安装 | 卸载
登录 登陆 | 登出 退出
升级 | 降级
添加 新增 | 删除 移除
允许 | 禁止
支持 赞成 | 反对
白天 | 夜里 夜晚 晚上
昨天 | 今天
今天 | 明天
昨天 | 明天
公开 | 私有 私密
上传 | 下载
开始 | 结束
东 | 西
南 | 北
输入 | 输出
存款 存钱 | 取款 取钱
加密 | 解密
借给 | 借自
出发 | 到达
成功 | 失败
同意 | 拒绝
便宜 | 贵
冷 | 热
内部 | 外部
父亲 爸爸 | 母亲 妈妈
哥哥 | 弟弟
姐姐 | 妹妹
第一个 最早 | 最后一个 最晚
原因 | 结果
加入 | 退出
好处 | 坏处
已婚 | 未婚
"""
_PARTICLE = re.compile(
    r"\b(turn|turns|turned|turning|switch|switched|switching|power|powered|toggle|log|logging|sign|signing|slow|speed)\b"
    r"((?:\s+(?!on\b|off\b|in\b|out\b|up\b|down\b)[\w+#]+){0,5}?)\s+(on|off|in|out|up|down)\b"
)
_PARTICLE_STEM = {"switch": "turn", "power": "turn", "toggle": "turn", "logg": "log"}
# "Higher, no, lower": both words are there, and the last one counts.
_TAKES_BACK = re.compile(
    r"\b(?:or rather|i mean|no actually|actually no|no wait|no sorry|or no|um|uh|er|scratch that|make that)\b"
)
_PREFIXES = ("un", "in", "im", "il", "ir", "dis", "non", "de", "mis", "anti")


def _table(rows: str) -> dict[str, list[tuple[int, int]]]:
    """Word -> the rows and sides it stands on."""
    where: dict[str, list[tuple[int, int]]] = {}
    for row, line in enumerate(rows.strip().splitlines()):
        for side, names in enumerate(line.split("|")):
            for word in names.split():
                where.setdefault(word if "_" in word else stem(word), []).append((row, side))
    return where


_WHERE = _table(_SIDES)
_HAN_WHERE = _table(_HAN_SIDES)
_HAN_WORD = re.compile("|".join(sorted(_HAN_WHERE, key=len, reverse=True)))
_HAN_NEUTRAL = re.compile(
    "东西|买卖|左右|冷热|前后|上下|大小|男女|进出口|关系|热门|热情|东方明珠|北京|南京|东京|西安|河北|河南|湖南|湖北|"
    "山东|山西|广东|广西|海南|云南|江西|陕西|西湖|西餐|西瓜|西藏|台湾|女士|南瓜"
)


def no_opposites(a: str, b: str) -> bool:
    """Refuse when one text says `enable` and the other `disable`."""
    in_a, in_b = latin_words(a), latin_words(b)
    takes_back = any(_TAKES_BACK.search(" ".join(said)) for said in (in_a, in_b))
    disagree = _contradicts if takes_back else _clash
    if disagree(_english_sides(a), _english_sides(b)) or _clash(_han_sides(a), _han_sides(b)):
        return False
    return not _prefixed(set(in_a), set(in_b))


def num_opposites(a: str, b: str) -> int:
    """Rows of the tables that the texts stand on different sides of, touched by both."""
    in_a, in_b = (_english_sides(text) | {(~row, side) for row, side in _han_sides(text)} for text in (a, b))
    rows = {row for row, _ in in_a} & {row for row, _ in in_b}
    return len({row for row, _ in in_a ^ in_b if row in rows})


def _clash(a: set[tuple[int, int]], b: set[tuple[int, int]]) -> bool:
    """Whether a row is on one side only in `a`, and on the other side only in `b`."""
    only_a, only_b = a - b, b - a
    return any((row, 1 - side) in only_b and (row, 1 - side) not in a and (row, side) not in b for row, side in only_a)


def _contradicts(a: set[tuple[int, int]], b: set[tuple[int, int]]) -> bool:
    """Whether both texts touch a row, on different sides. For texts that take a word back: "higher, no, lower"."""
    rows = {row for row, _ in a} & {row for row, _ in b}
    return any(row in rows for row, _ in a ^ b)


@lru_cache(maxsize=1024)
def _english_sides(text: str) -> set[tuple[int, int]]:
    said = " ".join(latin_words(text))
    phrases = {f"{_PARTICLE_STEM.get(stem(m[1]), stem(m[1]))}_{m[3]}" for m in _PARTICLE.finditer(said)}
    kept = _PARTICLE.sub(r" \2 ", said).split()
    return {place for word in (*map(stem, kept), *phrases) for place in _WHERE.get(word, ())}


@lru_cache(maxsize=1024)
def _han_sides(text: str) -> set[tuple[int, int]]:
    said = han(text)
    if not said:
        return set()
    return {place for word in _HAN_WORD.findall(_HAN_NEUTRAL.sub("，", said)) for place in _HAN_WHERE[word]}


def _prefixed(a: set[str], b: set[str]) -> bool:
    """Whether a word of one text, less un-, in-, dis- ..., is a word of the other: supported, unsupported."""
    return any(_stem_of(word) & (b - a) for word in a - b) or any(_stem_of(word) & (a - b) for word in b - a)


@lru_cache(maxsize=8192)
def _stem_of(word: str) -> frozenset[str]:
    return frozenset(_stems(word))


def _stems(word: str) -> Iterator[str]:
    for prefix in _PREFIXES:
        if word.startswith(prefix) and len(word) - len(prefix) >= 4:
            yield word[len(prefix) :]
