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
    ("What cells or what do helper cells recognize?", "what do helper cells recognize?"),
    ("How old is the Rhine no the North Sea?", "How old is the North Sea?"),
    ("What was no when did Washington learn of Trent?", "when did Washington learn of Trent?"),
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
# Words of taking back that are what is asked about, an answer, a title or a choice.
OF_CONTENT = """
In Germany can I say no in court?
In SQL, how do I store yes or no in a column?
In R, how do I write yes or no in a column?
In Spain, is it rude to say no in public?
In what year did Denmark vote no in the euro referendum?
In which country was Dr No in cinemas first?
In which year was Dr. No in cinemas first?
In 2005, why did France vote no in the EU referendum?
Which is correct, I mean or I meant?
Which is older, I mean or I meant?
Is it rude to say no to my boss?
In Python, why is there no in operator?
On Windows, is there no on-screen keyboard?
In Minecraft is there no in-game chat?
How old is or how tall is the Queen of Spain?
Who is or who was the king of Spain?
Did the board vote no the first time?
Did the Senate answer no the day before the vote?
Why did the jury say no the second time?
Is the Spanish no the same as the English no?
Who voted no when the house met in March?
What happens if I vote no when the shareholders meet?
How do you say no when someone asks you for money?
Is Texas a state with no in state tuition?
Should I buy a house now or wait a year?
Is it cheaper to book now or wait until May?
Should I sell my car or wait for the spring?
Is a tomato a fruit or rather a vegetable?
Does it look or actually taste good?
Would you live in Paris or rather in Rome?
Is it better to walk a mile, rather than run a mile?
Who directed Nope in 2022?
When was the movie Nope the number one?
In which year was Sorry in the charts?
Who sang the song Sorry the loudest?
Which album is Oops the first song of?
How do I scratch that itch on my back?
How can I strike that balance at work?
Why won't Steam let me try again to log in?
How do I say I'm sorry in French?
In Japan, how do I write I'm sorry in a letter?
Is the nearest er in Austin open?
Did doctors in the local er in Austin strike?
In Texas, which er in Austin is open?
Does whether or no the tenant pays matter?
Are there little or no the same fees in Spain?
Why do people say um in the middle of a sentence?
In English, why do people say um in the middle?
What does it mean to say sorry the British way?
How do I make that 3 minutes longer?
Can I make that what I wear?
What did the cat hear, or what did the dog hear?
Does a click on yes or no the next day count?
What do I mean when I say I mean the world to you?
Is it wait a minute or hold on a minute?
Which countries said no to the euro in the nineties?
Is no the most used word in the Senate?
Why is no the shortest answer in the book?
Is there a no the judge accepts in the court?
Has the word no the same root in the Slavic tongues?
What is the difference between sorry and I am sorry in English?
Do I sign or actually print a name on a form?
How do I tell the kids no in the store?
When did the Greeks in 1940 say no in Athens?
When should a nurse text no the night before a shift?
What part of no what part of never is unclear?
How do I count yes and no in a column in Excel?
How do I correct that to read I meant the one in the middle?
With Siri, how do I say no with a voice command?
Of all presidents who said no of course?
Does no mean no in the law of Sweden?
In the law of Sweden, does no mean no in the bedroom?
In Sweden, does no in a chat mean no in a court?
In a poll, is no in the lead?
In the poll in Oslo, is no in the lead in the city?
What does Siri do when I say hold on the line?
How do I hold on the line in a call?
How long do I hold up a sign in a protest?
Which is the better movie, No or Nope?
When the crowd shouted no the king left, who followed?
Which countries voted no the day after the war?
How many senators said no, the Guardian asks?
In a contract, is no, the deal is off, binding?
Is the answer, no, in every case?
If I text sorry in the morning, is it rude in the evening?
How to write sorry in the email to the boss in the office?
What rhymes with um in English?
How long do I wait in the queue in the bank?
Do I mix the eggs in or wait in the kitchen?
Can I park in Paris or rather in the suburbs?
Should I learn Rust or actually what should I learn?
Are tomatoes, no wait times included, sold in Rome?
Why do the French say er in the middle of a sentence?
Is the ER in Boston open?
Did Sorry the game come out before Monopoly the game?
Is it better to ask who or rather whom in a letter?
Would I rather the left or the right?
How do I reply to I mean what I say in a chat?
How do I say hold on in Spanish in a call?
In which film does he say oops in the kitchen?
Where do I scratch that card in the box?
What do I do in a lab where no is the answer in the manual?
In Oslo, do people with no in their names exist?
Between no in Greek and no in Latin, which is older?
With yes in one column and no in the other, how do I sum in Excel?
At home I say yes, at work I say no at times, why?
For a child, is no for an answer hard for a parent?
To whom do I say no to?
From whom is no from a judge final?
Was the response of the board to the offer no to the merger?
Is there no what you see is what you get editor?
Who is the man who says no what does he want?
Does Mr. No what he wants get?
In 2016 was the result no in Hungary?
On Prop 22, is no on the ballot on page two?
Of the answers, is no of any use?
Is it no for a reason or no for no reason?
About what did she say no about?
"""
BOTH_CUT = [
    ("How old is the Rhine no the North Sea?", "How old is the Elbe no the North Sea?"),
    ("How long is the Rhine no the Elbe?", "How long is the Nile no the Elbe?"),
]


@pytest.mark.parametrize(("said", "meant"), MEANT)
def test_what_is_taken_back_is_cut_out(said: str, meant: str) -> None:
    assert corrected(said) == meant
    assert bare(said) == bare(meant) != ""
    assert settled(said) == settled(meant)
    assert first_refusal(said, meant) is None


@pytest.mark.parametrize("text", [*SAID_AS_MEANT, *OF_CONTENT.strip().splitlines()])
def test_other_texts_are_left_as_they_are(text: str) -> None:
    assert corrected(text) == text


@pytest.mark.parametrize(("a", "b"), BOTH_CUT)
def test_two_texts_that_both_take_back_are_compared_whole(a: str, b: str) -> None:
    assert corrected(a) == corrected(b)
    assert first_refusal(a, b) == "repairs"


WORDS = ["what", "no", "um", "sorry", "the", "in", "Paris", ",", "5", "I", "mean", "or", "er", "who", "wait"]


@given(st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join))
@example("no no no no no what")
@settings(max_examples=200, deadline=None)
def test_any_text_can_be_read(text: str) -> None:
    assert first_refusal(text, text) is None
    assert first_refusal(text, corrected(text)) == first_refusal(corrected(text), text)
