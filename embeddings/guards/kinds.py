"""Do two texts speak of different ones of a kind: iran and iraq, Monday and Friday, measles and mumps?

Names in small letters look like any word, and an embedder holds sisters for the same. Each row is one kind (an indented
line goes on with it); words joined by `/` name the same thing, `_` stands for a space. Two texts that both name some of
a kind have to name the same ones; a text that names none is not held to it.
"""

import re
from functools import lru_cache
from itertools import pairwise

from embeddings.text import has_any, has_han, latin_words, plain, words

_KINDS = """
monday tuesday wednesday thursday friday saturday sunday
january/jan february/feb march april/apr june/jun july/jul august/aug september/sept/sep october/oct
  november/nov december/dec
spring summer autumn/fall winter
christmas easter halloween thanksgiving hanukkah ramadan diwali passover valentine's/valentines
christmas_eve new_year's_eve/new_years_eve
morning afternoon evening midnight noon/midday night/nighttime
breakfast lunch/brunch dinner/supper
black white red green blue yellow purple pink grey/gray brown orange
python/py java javascript/js typescript/ts rust golang kotlin ruby php haskell scala perl c++ c# matlab erlang
  elixir julia lua
postgresql/postgres mysql sqlite mongodb/mongo redis cassandra oracle mariadb
windows linux macos ubuntu debian fedora centos android ios/iphone
chrome firefox safari edge
json yaml xml csv toml
pytorch tensorflow jax keras
react vue angular svelte
flexbox grid
aws azure gcp
numpy pandas scipy
const let var
dog/dogs/puppy/puppies cat/cats/kitten/kittens horse/horses cow/cows pig/pigs rabbit/rabbits hamster/hamsters
  parrot/parrots
lion/lions tiger/tigers bear/bears wolf/wolves fox/foxes elephant/elephants
chicken beef pork lamb salmon tuna turkey shrimp/prawns tofu cod
apple/apples banana/bananas pear/pears orange/oranges mango/mangoes grape/grapes peach/peaches lemon/lemons
rice pasta potatoes/potato quinoa couscous
coffee tea cocoa
beer wine whisky/whiskey vodka
measles mumps rubella flu/influenza malaria asthma diabetes cancer pneumonia tuberculosis covid/coronavirus
headache/headaches migraine/migraines toothache/toothaches backache
ibuprofen paracetamol/acetaminophen aspirin naproxen
guitar piano violin drums flute cello
football/soccer basketball tennis cricket baseball golf rugby hockey volleyball
gold silver copper platinum iron zinc
mercury venus mars jupiter saturn uranus neptune pluto
paypal visa mastercard amex venmo
facebook instagram twitter tiktok snapchat linkedin whatsapp telegram pinterest reddit
netflix spotify hulu youtube disney
google microsoft apple amazon tesla nvidia intel ibm samsung sony nokia
toyota honda ford bmw audi volkswagen/vw mercedes nissan hyundai kia
gmail outlook yahoo
excel powerpoint
mean/average median mode sum/total
daily/everyday weekly monthly yearly/annual/annually
always sometimes/occasionally rarely/seldom never
north/northern south/southern east/eastern west/western
buddhism islam christianity hinduism judaism
bachelor/bachelor's master/master's phd/doctorate
limerick haiku sonnet essay tweet
pie_chart bar_chart line_chart histogram scatter_plot
england/english britain/british/uk/united_kingdom scotland/scottish wales/welsh ireland/irish france/french
  germany/german austria/austrian spain/spanish portugal/portuguese italy/italian greece/greek poland/polish
  sweden/swedish norway/norwegian denmark/danish finland/finnish iceland/icelandic netherlands/dutch/holland
  belgium/belgian switzerland/swiss czech/czechia slovakia/slovak slovenia/slovenian hungary/hungarian
  romania/romanian bulgaria/bulgarian serbia/serbian croatia/croatian ukraine/ukrainian russia/russian belarus
  estonia/estonian latvia/latvian lithuania/lithuanian albania/albanian malta cyprus turkey/turkish
  iran/iranian/persian iraq/iraqi syria/syrian lebanon/lebanese israel/israeli/hebrew jordan/jordanian
  egypt/egyptian libya/libyan tunisia/tunisian algeria/algerian morocco/moroccan sudan/sudanese
  ethiopia/ethiopian kenya/kenyan uganda/ugandan tanzania/tanzanian rwanda ghana/ghanaian nigeria/nigerian niger
  senegal/senegalese mali cameroon angola zambia zimbabwe mozambique namibia botswana south_africa/south_african
  madagascar somalia india/indian pakistan/pakistani bangladesh/bangladeshi sri_lanka nepal/nepali bhutan
  afghanistan/afghan mongolia/mongolian china/chinese/mandarin japan/japanese south_korea north_korea
  korea/korean taiwan/taiwanese thailand/thai vietnam/vietnamese laos cambodia/cambodian myanmar/burma
  malaysia/malaysian singapore indonesia/indonesian philippines/filipino australia/australian new_zealand
  canada/canadian mexico/mexican guatemala honduras nicaragua costa_rica panama cuba/cuban jamaica/jamaican
  haiti colombia/colombian venezuela/venezuelan ecuador peru/peruvian bolivia/bolivian chile/chilean
  argentina/argentinian/argentine uruguay paraguay brazil/brazilian saudi_arabia yemen oman qatar kuwait bahrain
  dubai/uae arabic hindi cantonese latin swahili zulu sanskrit tamil urdu catalan esperanto
  usa/u.s/united_states/american/america
london paris berlin madrid barcelona rome milan venice florence lisbon porto amsterdam brussels vienna prague
  budapest warsaw krakow moscow istanbul athens dublin edinburgh stockholm oslo copenhagen helsinki zurich
  geneva munich hamburg frankfurt lyon marseille new_york/nyc boston chicago los_angeles san_francisco seattle
  denver dallas houston austin miami atlanta philadelphia toronto vancouver montreal sydney melbourne tokyo
  kyoto osaka beijing shanghai shenzhen seoul bangkok delhi mumbai karachi lahore dhaka jakarta manila cairo
  nairobi lagos johannesburg
texas california florida ohio oregon nevada utah arizona colorado virginia alaska hawaii michigan illinois
  alabama
star_wars star_trek
noun verb adjective adverb pronoun preposition
solid liquid gas plasma
boiling freezing melting
ceo cfo cto coo cmo cio
wifi/wi-fi bluetooth ethernet
laptop/laptops desktop/desktops tablet/tablets smartphone/smartphones
volt/volts watt/watts amp/amps/ampere ohm/ohms
herbivore/herbivores carnivore/carnivores omnivore/omnivores
knee/knees elbow/elbows ankle/ankles wrist/wrists shoulder/shoulders hip/hips
kidney/kidneys liver lung/lungs stomach pancreas spleen
africa asia europe antarctica
pacific atlantic
sedan suv minivan truck motorcycle
bachelor/bachelors master/masters
aries taurus gemini virgo libra scorpio sagittarius capricorn aquarius pisces
protein/proteins carbohydrate/carbohydrates/carbs fat/fats
"""
_HAN_KINDS = """
星期一/周一 星期二/周二 星期三/周三 星期四/周四 星期五/周五 星期六/周六 星期天/星期日/周日
春天/春季 夏天/夏季 秋天/秋季 冬天/冬季
春节 元宵节/元宵 清明节/清明 端午节/端午 中秋节/中秋 重阳节 国庆节/国庆 元旦 圣诞节 七夕
唐朝/唐代 宋朝/宋代 元朝/元代 明朝/明代 清朝/清代 汉朝/汉代 秦朝/秦代 隋朝/隋代
早餐/早饭 午餐/午饭 晚餐/晚饭
猫 狗 兔子 仓鼠 金鱼 乌龟
红色 绿色 蓝色 黄色 黑色 白色 紫色 粉色
苹果 香蕉 梨 橙子 芒果 葡萄 西瓜 草莓
土豆/马铃薯 茄子 西红柿/番茄 黄瓜 白菜 韭菜 豆腐 胡萝卜
牛肉 猪肉 羊肉 鸡肉 鱼肉
感冒 流感 糖尿病 高血压 低血压 哮喘 肺炎
头疼/头痛 牙疼/牙痛 胃疼/胃痛 腰疼/腰痛
微信 支付宝 微博 抖音 淘宝 京东 美团 拼多多 小红书 知乎
爱奇艺 优酷 腾讯视频 哔哩哔哩
华为 小米 苹果 三星
北京大学/北大 清华大学/清华 复旦大学/复旦 浙江大学/浙大 四川大学/川大 武汉大学/武大 南京大学/南大
故宫 颐和园 长城 天坛 圆明园
李白 杜甫 白居易 苏轼 李清照
贝多芬 莫扎特 肖邦 巴赫
刘备 曹操 孙权
英语/英文 中文/汉语/普通话 法语/法文 德语/德文 日语/日文 韩语/韩文 俄语/俄文 西班牙语 葡萄牙语 意大利语 阿拉伯语
  泰语 越南语 粤语/广东话 闽南语 四川话 东北话 上海话 文言文 白话文
北京 上海 广州 深圳 杭州 南京 苏州 扬州 成都 重庆 武汉 西安 天津 长沙 青岛 厦门 大连 昆明 哈尔滨 沈阳 郑州 香港
  澳门
云南 四川 新疆 西藏 广东 广西 山东 山西 河南 河北 湖南 湖北 江苏 浙江 福建 海南 贵州 甘肃 青海 内蒙古
中国 美国 英国 法国 德国 日本 韩国 朝鲜 俄罗斯 印度 泰国 缅甸 越南 老挝 柬埔寨 马来西亚 新加坡 印度尼西亚/印尼
  菲律宾 伊朗 伊拉克 叙利亚 以色列 土耳其 埃及 西班牙 葡萄牙 意大利 希腊 荷兰 比利时 瑞士 瑞典 挪威 丹麦 芬兰
  波兰 奥地利 澳大利亚/澳洲 新西兰 加拿大 墨西哥 巴西 阿根廷 智利 秘鲁 南非 肯尼亚 尼日利亚 摩洛哥 巴基斯坦
  乌克兰
诗 散文 小说 故事 作文 游记 清单 文案 日记
"""


def _table(rows: str) -> dict[str, tuple[int, str]]:
    """Word -> its kind and what it names. A word of two kinds stands for the first."""
    where: dict[str, tuple[int, str]] = {}
    for kind, line in enumerate(rows.strip().replace("\n  ", " ").splitlines()):
        for names in line.split():
            for name in names.split("/"):
                where.setdefault(name.replace("_", " "), (kind, names))
    return where


_WHERE = _table(_KINDS)
_PHRASE_BEGINS = frozenset(name.split()[0] for name in _WHERE if " " in name)
_IN_MAY = re.compile(
    r"\b(?:[Ii]n|of|by|[Ss]ince|until|[Bb]efore|[Aa]fter|last|next|every|early|late|mid|\d|\dth) [Mm]ay\b"
    r"|\b[Mm]ay \d"
    r"|(?<=[a-z] )May\b(?! (?:I|i|we|you)\b)"
)
_LETTERED = re.compile(
    r"\b(option|plan|part|section|class|grade|group|type|vitamin|hepatitis|appendix|exhibit|schedule|drive|team|gate"
    r"|block|building|zone|variable|point|set|step|version|answer|choice|product|company|column|row|list)"
    r" ([a-z])(?![\w'])"
)
_LETTERED_NOUNS = frozenset(_LETTERED.pattern.partition("(")[2].partition(")")[0].split("|"))
_HAN_WHERE = _table(_HAN_KINDS)
_HAN_NAME = re.compile("|".join(sorted(_HAN_WHERE, key=len, reverse=True)))


def same_kinds(a: str, b: str) -> bool:
    """Refuse when one text names iran and the other iraq, one Monday and the other Friday."""
    kinds_a, kinds_b = _named(a), _named(b)
    return all(kinds_b.get(kind, named) == named for kind, named in kinds_a.items()) and _same_letters(a, b)


def _same_letters(a: str, b: str) -> bool:
    """Whether both speak of option A, or of plan B, where both name one by its letter."""
    in_a, in_b = _lettered(a), _lettered(b)
    return in_a == in_b or {noun for noun, _ in in_a}.isdisjoint(noun for noun, _ in in_b)


@lru_cache(maxsize=1024)
def _lettered(text: str) -> set[tuple[str, str]]:
    return set() if _LETTERED_NOUNS.isdisjoint(words(text)) else set(_LETTERED.findall(plain(text).lower()))


def other_names(name: str) -> list[str]:
    """What else a thing of the table is called: France, French."""
    place = _WHERE.get(name)
    return place[1].replace("_", " ").split("/") if place is not None else []


@lru_cache(maxsize=1024)
def _named(text: str) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    said = latin_words(text)
    if has_any(text, ("May", "may")) and _IN_MAY.search(plain(text)):
        found[_WHERE["june"][0]] = {"may"}
    phrases = [f"{one} {two}" for one, two in pairwise(said) if one in _PHRASE_BEGINS]
    for word in (*said, *phrases):
        if word in _WHERE:
            kind, names = _WHERE[word]
            found.setdefault(kind, set()).add(names)
    if not text.isascii() and has_han(text):
        for name in _HAN_NAME.findall(plain(text)):
            kind, names = _HAN_WHERE[name]
            found.setdefault(~kind, set()).add(names)
    return found
