"""What may be shared between two histories by the rules alone: nothing that the history could have changed."""

from collections.abc import Mapping

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.semantic.standalone.rules import ByRules
from gateway.semantic.standalone.talk import Talk, Turn, talk_of

# (what one user said before, what the other said, the last turn of both): the answer must not be shared.
NEVER: list[tuple[list[str], list[str], str]] = [
    # pronouns, ellipsis, follow-ups
    (["Who is the CEO of Apple?"], ["Who is the CEO of Google?"], "How old is he?"),
    (["What is the capital of France?"], ["What is the capital of Japan?"], "How many people live there?"),
    (["What is the weather like in Rome?"], ["Who was mayor of Rome?"], "And in Paris?"),
    (["Who wrote Hamlet?"], ["Who wrote Emma?"], "When was it written?"),
    (["How do I boil eggs?"], ["How do I boil pasta?"], "How long does that take?"),
    (["What is Python?"], ["What is Java?"], "Tell me more about the history."),
    (["Is Paris nice?"], ["Is Rome nice?"], "What about London in winter?"),
    (["What is Rust?"], ["What is Go?"], "Why?"),
    (["Name two rivers in Spain."], ["Name two rivers in Peru."], "Which one is longer than the Thames?"),
    # "the" of the conversation
    (["Which hotel is near the Louvre?"], ["Which hotel is near Big Ben?"], "How much does the breakfast cost?"),
    (["What is Titanic about?"], ["What is Alien about?"], "Who is the director?"),
    (["Where is the Hilton in Paris?"], ["Where is the Ritz in Paris?"], "What is the phone number for Germany?"),
    (["Explain Kafka."], ["Explain Redis."], "What are the main components?"),
    (["Where did the Normans land?"], ["Where did the Normans settle?"], "What was the name of the Norman castle?"),
    (["What is Harvard?"], ["What is Yale?"], "How many students does the University have?"),
    (["Who won the game?"], ["Who lost the game?"], "What are the names of players?"),
    (["Where is the zoo?"], ["Where is the fair?"], "What is the price of tickets for children?"),
    (["How is a Visa card blocked?"], ["How is a phone blocked?"], "How can the PIN be changed in Germany?"),
    # what is left unsaid, and the question before says
    (["How long does Amazon take to ship?"], ["How long does IKEA take to ship?"], "How much is delivery to Germany?"),
    (["Does Amazon sell to IKEA?"], ["Does IKEA sell to Amazon?"], "How much is paid for delivery to Germany?"),
    (["How do I sort a list in Java?"], ["How do I sort a list in Ruby?"], "How do I read a file into a String?"),
    (["What is the largest planet?"], ["What is in a thermometer?"], "What is the boiling point of Mercury?"),
    (["Who won the NBA finals?"], ["Which countries border Syria?"], "What is the population of Jordan?"),
    (["What is a Mac?"], ["What is Linux?"], "How can Firefox be installed?"),
    (["Which fruits are citrus?"], ["Which fruits are not citrus?"], "Name five that grow in Spain."),
    (["Where is Cambridge in England?"], ["Where is Cambridge in Massachusetts?"], "Who founded Cambridge?"),
    (["Where is the Hilton?", "Where is the Ritz?"], ["Where is the Ritz?", "Where is the Hilton?"],
     "How much is breakfast in Paris?"),
    # choices and comparisons
    (["What are dogs?"], ["What are wolves?"], "Is a cat faster?"),
    (["Who is Messi?"], ["Who is Pele?"], "Is Ronaldo better?"),
    (["What is the iPhone 15?"], ["What is the Pixel 8?"], "What is a cheaper alternative from Samsung?"),
    # orders that still hold, and facts about the one who asks
    (["Answer only in French from now on."], ["Hello"], "What is the capital of Spain?"),
    (["Answer in French."], ["Answer in Spanish."], "What is the capital of Peru?"),
    (["Hello", "Okay."], ["Hello"], "What is the capital of Peru?"),
    (["Pretend to be a pirate."], ["Hello"], "What is the capital of Spain?"),
    (["Imagine a world where Lyon is the capital of France."], ["Hello"], "What is the capital of France?"),
    (["Can you explain things like I'm five?"], ["Hello"], "Why is the sky over Norway green?"),
    (["I am allergic to peanuts."], ["I love peanuts."], "What should be cooked for dinner in Thailand?"),
    (["I use Windows."], ["I use Linux."], "How can Python be installed on a laptop?"),
    (["My name is Paul."], ["My name is Anna."], "What is my name in Japan?"),
    (["What if there is no moon?"], ["What is a moon?"], "Are there tides in Japan?"),
    # works on a text that is not in it
    (["Write a poem about Rome."], ["Write a poem about Oslo."], "Translate the poem to French."),
    (["Write a mail to Bob."], ["Write a mail to Eve."], "Rewrite your previous response."),
    (["Who was Kant?"], ["Who was Hume?"], "Summarize the life in England in five words."),
    # not English
    (["Wer war Kant?"], ["Wer war Hume?"], "Was ist seine Adresse?"),
    # Chinese
    (["苹果的首席执行官是谁？"], ["谷歌的首席执行官是谁？"], "他多大年纪？"),
    (["《泰坦尼克号》好看吗？"], ["《阿凡达》好看吗？"], "导演是谁？"),
    (["《泰坦尼克号》是哪年上映的？"], ["《阿凡达》是哪年上映的？"], "主演有哪些人？"),
    (["故宫在哪里？"], ["长城在哪里？"], "门票多少钱？"),
    (["故宫在哪里？"], ["长城在哪里？"], "附近有什么酒店？"),
    (["周杰伦是谁？"], ["林俊杰是谁？"], "有哪些代表作？"),
    (["宫崎骏是谁？"], ["成龙是谁？"], "是日本哪里人？"),
    (["故宫在哪里？"], ["故宫在哪里？谢谢"], "在北京市东城区，有景点的电话吗？"),
    (["北京有哪些景点？"], ["上海有哪些景点？"], "那广州呢？"),
    (["北京有哪些景点？"], ["上海有哪些大学？"], "广州有哪些？"),
    (["亚马逊多久发货？"], ["京东多久发货？"], "德国的运费是多少？"),
    (["什么是水星？"], ["什么是水银？"], "Mercury的沸点是多少？"),
    (["请用英文回答。"], ["你好"], "中国的首都是哪里？"),
    (["请用英文回答。"], ["请用法文回答。"], "秘鲁的首都是哪里？"),
    (["你好", "好的"], ["你好"], "秘鲁的首都是哪里？"),
    (["假设你是一个海盗。"], ["你好"], "中国的首都是哪里？"),
    (["我对花生过敏。"], ["你好"], "泰国有什么菜可以吃？"),
    (["《红楼梦》的作者是谁？"], ["《西游记》的作者是谁？"], "该书有多少回？"),
    (["《红楼梦》有多少字？"], ["《西游记》有多少字？"], "《水浒传》也一样吗？"),
    (["写一首关于春天的诗。"], ["写一首关于秋天的诗。"], "把它翻译成英文好吗？"),
    (["哪款手机好？"], ["哪款电脑好？"], "Apple和华为哪个更好？"),
]  # fmt: skip

# The same last turn: its answer may be shared.
MAY: list[tuple[list[str], list[str], str]] = [
    (["What is the capital of France?"], ["Tell me what the capital of France is"], "Who wrote the play Hamlet?"),
    (["Hello"], ["Hi there!", "thanks"], "What is the capital of Spain?"),
    (["How do I create a project in Android Studio?"], ["How can I create a project in Android Studio?"],
     "How can I add a new activity in Android Studio?"),
    (["Hello"], ["good morning"], "What is a covered call option?"),
    (["Is the Moon moving away from the Earth?"], ["Hi!", "is the moon moving away from the earth"],
     "What year did the Titanic sink?"),
    (["I am allergic to peanuts."], ["Hi", "I am allergic to peanuts."], "Which dishes come from Thailand?"),
    (["你好"], ["您好！"], "《泰坦尼克号》的导演是谁？"),
    (["北京有哪些景点？"], ["请问北京有哪些景点"], "故宫的门票是多少钱？"),
]  # fmt: skip


def talk(asked: list[str], last: str) -> Talk:
    turns = [turn for text in asked for turn in (Turn("user", text), Turn("assistant", "As you say."))]
    return Talk(b"{}", tuple(turns), last)


def may_share(a: Talk, b: Talk) -> bool:
    rules = ByRules()
    return rules.flaw(a) is None and rules.flaw(b) is None and rules.topics(a) == rules.topics(b)


@pytest.mark.parametrize(("one", "other", "last"), NEVER, ids=[case[2] for case in NEVER])
def test_nothing_is_shared_that_the_history_could_change(one: list[str], other: list[str], last: str) -> None:
    assert not may_share(talk(one, last), talk(other, last))


@pytest.mark.parametrize(("one", "other", "last"), MAY, ids=[case[2] for case in MAY])
def test_what_stands_alone_is_shared_after_the_same_questions(one: list[str], other: list[str], last: str) -> None:
    assert may_share(talk(one, last), talk(other, last))


# (what both users said before, what each was answered, the last turn of both): the answer must not be shared.
ANSWERED: list[tuple[str, str, str, str]] = [
    ("Who is a famous person named Jordan?", "Michael Jordan, of course.", "Jordan Peterson.", "How old is Jordan?"),
    ("Who is a famous person named Jordan?", "Michael. He plays.", "Peterson. He writes.", "How old is Jordan?"),
    ("Which singer is best?", "Beyoncé Knowles.", "Beyoncé, a tribute act.", "Where was Beyonce born in Texas?"),
    ("Which city has a strange name?", "Paris, Texas.", "Paris, Ontario.", "how many people live in paris"),
    ("What is the best port?", "USB-C.", "Rotterdam.", "What is a port?"),
    ('Who wrote the song "Home"?', "Michael Buble.", "Daughtry.", 'When was "Home" released in Spain?'),
    ("有什么好看的电影？", "《英雄》，张艺谋的。", "《英雄》，吴宇森的。", "《英雄》是谁导演的？"),
    ("哪个Jordan最有名？", "打篮球的那个。", "写书的那个。", "Jordan多大了？"),
]


@pytest.mark.parametrize(("asked", "one", "other", "last"), ANSWERED, ids=[case[3] for case in ANSWERED])
def test_nothing_is_shared_whose_names_the_answers_before_may_explain(
    asked: str, one: str, other: str, last: str
) -> None:
    first, second, apart = (
        Talk(b"{}", (Turn("user", asked), Turn("assistant", said)), last) for said in (one, f" {one}\n", other)
    )
    assert may_share(first, second)
    assert not may_share(first, apart)


@given(
    text=st.text()
    | st.lists(st.sampled_from(["the", "What", "is", "of", "Mercury", "《", "》", "是", "谁", '"', "?"])).map(" ".join)
)
def test_whatever_is_said_the_rules_say_something(text: str) -> None:
    assert may_share(talk([text], text), talk([text], text)) in (True, False)


def canonical(*messages: Mapping[str, object], **fields: object) -> bytes:
    return orjson.dumps({"messages": messages, "temperature": 1, **fields}, option=orjson.OPT_SORT_KEYS)


RULES = {"role": "system", "content": "Be brief."}
HELLO, HI = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}
ASKED = {"role": "user", "content": "What is the capital of Spain?"}


def test_a_setting_holds_all_but_the_words_of_turns() -> None:
    base = talk_of(canonical(RULES, HELLO, HI, ASKED))
    other_words = talk_of(canonical(RULES, {**HELLO, "content": "Hey"}, HI, HELLO, HI, {**ASKED, "content": "x"}))
    others = [
        canonical({**RULES, "content": "Be long."}, HELLO, HI, ASKED),
        canonical({**RULES, "role": "developer"}, HELLO, HI, ASKED),
        canonical(HELLO, HI, ASKED),
        canonical(RULES, HELLO, HI, ASKED, temperature=0),
        canonical(RULES, HELLO, HI, ASKED, tools=[{"type": "function"}]),
        canonical(RULES, HELLO, HI, ASKED, response_format={"type": "json_object"}),
    ]
    assert base is not None
    assert other_words is not None
    key = base.key(b"s" * 32, ())
    assert key == other_words.key(b"s" * 32, ())
    assert key not in (base.key(b"t" * 32, ()), base.key(b"s" * 32, (("paris",),)))
    found = [talk_of(other) for other in others]
    assert all(one is not None and one.setting != base.setting for one in found)


@pytest.mark.parametrize(
    "messages",
    [
        [ASKED],
        [RULES, ASKED],
        [HELLO, RULES, ASKED],
        [HELLO, {"role": "assistant", "content": "Hi", "tool_calls": []}, ASKED],
        [HELLO, {"role": "tool", "content": "4", "tool_call_id": "1"}, ASKED],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, HI, ASKED],
        [{**HELLO, "name": "Ann"}, HI, ASKED],
        [HELLO, HI],
    ],
)
def test_what_is_more_than_turns_of_text_is_no_talk(messages: list[Mapping[str, object]]) -> None:
    assert talk_of(canonical(*messages)) is None
