import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.lexical import bare

SAME = [
    ("What is prefix caching?", "Could you please tell me what prefix caching is?"),
    ("What is prefix caching?", "hi, whats prefix caching"),
    ("How does prefix caching work?", "Explain how prefix caching works."),
    ("How do I reset my password?", "What's the way to reset a password?"),
    ("How do I convert 5km to miles?", "how to convert five kilometres to miles"),
    ("Is it possible to freeze cooked rice?", "Can I freeze cooked rice, please?"),
    ("Suggest ten names for a cat", "Can you suggest me 10 names for a cat?"),
    ("What does `read_csv` do?", "what does read_csv do"),
    ("如何打开深色模式", "请问怎样开启深色模式？"),
    ("如何打开深色模式", "深色模式怎么打开呢"),
    ("如何打开深色模式", "請問如何打開深色模式？"),
    ("什么是前缀缓存？", "前缀缓存是什么"),
    ("清明节有什么习俗", "你好，我想知道清明节的习俗有哪些，谢谢"),
    ("猫为什么怕狗", "为什么猫怕狗？"),
    ("５公里是多少米", "五公里等于多少米？"),
    ("这里可不可以带宠物", "这里能带宠物吗"),
    ("《三体》的作者是谁", "《三体》是谁写的？"),
    ("这本新书多少钱", "这本新书的价格是多少"),
    ("去故宫怎么走", "故宫怎么去？"),
    ("学游泳有什么方法", "学游泳的办法有哪些"),
]
OTHER = [
    ("How do you say please in German?", "How do you say thanks in German?"),
    ("hello in French", "sorry in French"),
    ("What is vitamin a good for?", "What is vitamin good for?"),
    ("Can you swim?", "Can I swim?"),
    ("What eats cats?", "What do cats eat?"),
    ("How do you feel?", "How do I feel?"),
    ("What does it mean?", "What is it?"),
    ("Print `True`", "Print `true`"),
    ("What does != do in C?", "What does == do in C?"),
    ("Give US history facts", "Give us history facts"),
    ("谁打败了曹操", "曹操打败了谁"),
    ("猫为什么怕狗", "狗为什么怕猫"),
    ("地球有多大", "球有多大"),
    ("三位数有哪些", "三个数有哪些"),
    ("成都有什么特产", "成有什么特产"),
    ("四川话怎么学", "话怎么学"),
    ("可以带宠物吗", "不可以带宠物吗"),
    ("小明同学去哪里了", "小明同学在哪里"),
    ("从北京到上海怎么走", "从上海到北京怎么走"),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_one_question_has_one_bare_form(a: str, b: str) -> None:
    assert bare(a) == bare(b) != ""


@pytest.mark.parametrize(("a", "b"), OTHER)
def test_another_question_has_another(a: str, b: str) -> None:
    assert bare(a) != bare(b) or bare(a) == ""


@pytest.mark.parametrize("text", ["", "?", "hi", "please", "继续", "谢谢", "```x = 1```", "a = {1}", "x" * 5000])
def test_code_and_what_says_too_little_have_no_bare_form(text: str) -> None:
    assert bare(text) == ""


PHRASES = st.sampled_from([text for pair in [*SAME, *OTHER] for text in pair])


@given(st.text() | PHRASES)
@settings(max_examples=150, deadline=None)
def test_any_text_has_one_bare_form_in_any_width_and_spacing(text: str) -> None:
    wide = text.translate({ord(char): ord(char) + 0xFEE0 for char in "?.0123456789"})

    assert bare(text) == bare(f"  {text}\n")
    assert bare(wide) == bare(wide)


@given(PHRASES)
@settings(max_examples=60, deadline=None)
def test_full_width_digits_and_marks_change_nothing(text: str) -> None:
    assert bare(text.translate({ord(char): ord(char) + 0xFEE0 for char in "?0123456789"})) == bare(text)
