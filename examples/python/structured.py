"""A pydantic model is filled in by the demo model, and comes back from memory when it is asked for again.

Prints:

    topic is one of those allowed: True
    the second is the first: True
"""

from typing import Literal

from openai import OpenAI
from pydantic import BaseModel, ConfigDict

TOPICS = ("cache", "engine", "other")


class Verdict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    topic: Literal["cache", "engine", "other"]
    is_question: bool


client = OpenAI(base_url="http://127.0.0.1:8420/v1", api_key="any")
first, second = (
    client.chat.completions.parse(
        model="demo",
        messages=[{"role": "user", "content": "What is prefix caching?"}],
        response_format=Verdict,
        temperature=0,
    )
    .choices[0]
    .message.parsed
    for _ in range(2)
)
print("topic is one of those allowed:", first is not None and first.topic in TOPICS)
print("the second is the first:", second == first)
