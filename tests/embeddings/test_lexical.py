import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.lexical import bare

SAME = [
    ("What is prefix caching?", "Could you please tell me what prefix caching is?"),
    ("What is prefix caching?", "hi, whats prefix caching"),
    ("What is prefix caching?", "Explain what prefix caching is."),
    ("How does prefix caching work?", "Explain how prefix caching works."),
    ("How do I reset my password?", "Hello! How can I reset my password? Thanks!"),
    ("How do I convert 5km to miles?", "how to convert five kilometres to miles"),
    ("Why can't I log in?", "why can not I log in"),
    ("Suggest ten names for a cat", "Please suggest me 10 names for a cat."),
    ("What does `read_csv` do?", "what does read_csv do"),
    ("What is the capital of France?", "I was wondering what the capital of France is, thanks"),
    ("What is the capital of France?", "What is capital of France"),
    ("如何打开深色模式", "请问怎样开启深色模式？"),
    ("如何打开深色模式", "深色模式怎么打开呢"),
    ("如何打开深色模式", "請問如何打開深色模式？"),
    ("什么是前缀缓存？", "前缀缓存是什么"),
    ("清明节有什么习俗", "你好，我想知道清明节有什么习俗，谢谢"),
    ("猫为什么怕狗", "为什么猫怕狗？"),
    ("５公里是多少米", "五公里是多少米？"),
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
    ("What does your name mean?", "What is your name?"),
    ("What does my balance mean?", "What is my balance?"),
    ("What is the meaning of life?", "What is life?"),
    ("What is the meaning of N in physics?", "What is N in physics?"),
    ("What is the definition of done?", "What is done?"),
    ("How do you use my data?", "How do I use my data?"),
    ("How do you calculate my bill?", "How do I calculate my bill?"),
    ("How do I look in red?", "How can I look in red?"),
    ("Can you write Python code?", "Write Python code"),
    ("Can you generate images?", "Generate images"),
    ("Can you help me swim?", "Help me swim"),
    ("Is it ok to eat raw rice?", "Is it possible to eat raw rice?"),
    ("Am I allowed to park here?", "Am I able to park here?"),
    ("May I park here?", "Can I park here?"),
    ("What is REST?", "What is rest?"),
    ("Explain SOAP to me", "Explain soap to me"),
    ("How much RAM do I need?", "How much ram do I need?"),
    ("What does G do in vim?", "What does g do in vim?"),
    ("Convert 5 MB to bits", "Convert 5 Mb to bits"),
    ("What does %Y print?", "What does %y print?"),
    ("How dense is Co gas?", "How dense is CO gas?"),
    ("Solve X + 1 for X", "Solve x + 1 for x"),
    ("How do I open Windows at night?", "How do I open windows at night?"),
    ("Does Apple juice anything?", "Does apple juice anything?"),
    ("What does `:` mean in Python?", "What does `!` mean in Python?"),
    ("Is it equal to 5!", "Is it equal to 5"),
    ("What matches ab? in regex", "What matches ab. in regex"),
    ("Simplify the term n!", "Simplify the term n"),
    ("You are at home?", "You are at home."),
    ("What is a just war?", "What is a war?"),
    ("How do I sell my car?", "How do I sell a car?"),
    ("What is the matter?", "What is matter?"),
    ("What is the time?", "What is time?"),
    ("Are a few enough?", "Are few enough?"),
    ("Who is man-eating there?", "Who is man eating there?"),
    ("What is the dog's name?", "What is the dogs name?"),
    ("Is colour a CSS property?", "Is color a CSS property?"),
    ("Translate the dog into German", "Translate a dog into German"),
    ("Translate into German: hi, what is five?", "Translate into German: what is 5?"),
    ("Summarize: so, what is REST", "Summarize: what is REST"),
    ("Print 'the dog' twice", "Print 'a dog' twice"),
    ("How many kids eat there?", "How many children eat there?"),
    ("Do you know how to swim well?", "How to swim well?"),
    ("Hello, World program in C", "World program in C"),
    ("Help me write a poem", "Write a poem"),
    ("What is the fifth planet?", "What is the five planet?"),
    ("What really happened in 1912?", "What happened in 1912?"),
    ("How precisely does a laser measure?", "How does a laser measure?"),
    ("Write no, thanks", "Write no"),
    ("What is x⁴ here?", "What is x4 here?"),
    ("What is in, on Sunday?", "What is in on Sunday?"),
    ("What is the current I here?", "What is the current i here?"),
    ("谁打败了曹操", "曹操打败了谁"),
    ("猫为什么怕狗", "狗为什么怕猫"),
    ("他说你为什么不来", "为什么他说你不来"),
    ("地球有多大", "球有多大"),
    ("三位数有哪些", "三个数有哪些"),
    ("成都有什么特产", "成有什么特产"),
    ("四川话怎么学", "话怎么学"),
    ("可以带宠物吗", "不可以带宠物吗"),
    ("小明同学去哪里了", "小明同学在哪里"),
    ("从北京到上海怎么走", "从上海到北京怎么走"),
    ("请假怎么扣工资", "假怎么扣工资"),
    ("你好是什么意思", "是什么意思"),
    ("请问是什么意思", "是什么意思"),
    ("我的车怎么卖", "车怎么卖"),
    ("你在家等我？", "你在家等我。"),
    ("比较苹果和梨", "苹果和梨"),
    ("诺曼底登陆在哪天", "诺曼底登录在哪天"),
    ("一本书多少钱", "本书多少钱"),
    ("他吃了什么药", "他吃什么药"),
    ("國的简体字是哪个", "国的简体字是哪个"),
    ("《活着》是谁写的", "活着是谁写的"),
    ("翻译：你好，请问几点", "翻译：请问几点"),
    ("他怎么不来上班", "他如何不来上班"),
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
