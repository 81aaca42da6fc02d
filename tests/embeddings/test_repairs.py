import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embeddings.guards import first_refusal
from embeddings.lexical import bare
from embeddings.repairs import corrected
from embeddings.wording import settled

MEANT = [
    ("Who wrote, no sorry, who sang Hey Jude?", "who sang Hey Jude?"),
    ("How many people live in Uganda no wait in Kenya?", "How many people live in Kenya?"),
    ("What does the council um the mayor decide?", "What does the mayor decide?"),
    ("When was the second or rather first marathon?", "When was the first marathon?"),
    ("Who painted Salvador Dali I mean Pablo Picasso as a child?", "Who painted Pablo Picasso as a child?"),
    ("What is a mortgage I mean a loan?", "What is a loan?"),
    ("How do I turn on no sorry turn off dark mode?", "How do I turn off dark mode?"),
    ("In 1956, sorry, 1957, who was king?", "In 1957, who was king?"),
    ("How many people moved to Perth in 2013 no 2014?", "How many people moved to Perth in 2014?"),
    ("Where was, let me rephrase, when was the fair held?", "when was the fair held?"),
    ("What was or what is the tallest tower on earth?", "what is the tallest tower on earth?"),
    ("In 1900, who was, no wait, who became king of Italy?", "In 1900, who became king of Italy?"),
]
SAID_AS_MEANT = [
    "Which countries have no army?",
    "How do I say sorry in Korean?",
    "What do I mean by recursion?",
    "How long is the wait at the er in Austin?",
    "Is there no way to undo this?",
    "What does no mean in Greek?",
    "Compare both, no marketing talk, only facts.",
    "I didn't make that payment, can you help?",
    "Would you rather walk or run?",
    "How do I make that the default?",
    "Answer yes or no: is glass a liquid?",
    "I missed the exam, I'm sorry, what should I write to the teacher?",
    "How do I change that to Spanish?",
    "There are no 5 star hotels here, are there?",
    "I am sorry 3 times a day, is that too much?",
    "no",
    "um",
    "I mean",
    "",
    "Explain 'in Oslo, no sorry, in Bergen' to me",
    "Why `a, no wait, b`?",
    'Who said "in Oslo, no sorry, in Bergen"?',
    "Translate in Oslo, no sorry, in Bergen",
    "Make it short: in Oslo, no sorry, in Bergen",
]


@pytest.mark.parametrize(("said", "meant"), MEANT)
def test_what_is_taken_back_is_cut_out(said: str, meant: str) -> None:
    assert corrected(said) == meant
    assert bare(said) == bare(meant) != ""
    assert settled(said) == settled(meant)
    assert first_refusal(said, meant) is None


@pytest.mark.parametrize("text", SAID_AS_MEANT)
def test_other_texts_are_left_as_they_are(text: str) -> None:
    assert corrected(text) == text


WORDS = ["what", "no", "um", "sorry", "the", "in", "Paris", ",", "5", "I", "mean", "or", "er", "who", "wait"]


@given(st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join))
@example("no no no no no what")
@settings(max_examples=200, deadline=None)
def test_any_text_can_be_read(text: str) -> None:
    assert first_refusal(text, text) is None
    assert first_refusal(text, corrected(text)) == first_refusal(corrected(text), text)
