"""Two people were given a stored answer that is wrong, and say so: it is retired, and the question is answered anew.

Prints:

    full      What is prefix caching?
    semantic  Explain what prefix caching is.
    bad, so the answer is kept
    exact     What is prefix caching?
    bad, so the answer is retired
    kv        What is prefix caching?
"""

import time

import httpx
from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:8420/v1", api_key="any")


def ask(text: str) -> str:
    """The id of the answer."""
    raw = client.chat.completions.with_raw_response.create(model="demo", messages=[{"role": "user", "content": text}])
    print(f"{raw.headers['x-twicetold-tier']:9}", text)
    time.sleep(0.5)  # what was asked is indexed behind the answer
    return raw.parse().id


def complain(answer: str) -> None:
    said = httpx.post(
        "http://127.0.0.1:8420/v1/cache/feedback",
        headers={"Authorization": "Bearer any"},
        json={"id": answer, "verdict": "bad", "comment": "the wrong kind of prefix"},
    ).json()
    print(f"{said['verdict']}, so the answer is {said['state']}")


ask("What is prefix caching?")
complain(ask("Explain what prefix caching is."))
complain(ask("What is prefix caching?"))
ask("What is prefix caching?")
