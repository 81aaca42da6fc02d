"""The answer cache without the proxy, by Twicetold's own client: look up, ask your own model, put.

Prints:

    miss: Berlin.
    semantic: Berlin.
"""

import time

from twicetold import Twicetold


def my_own_model(_: str) -> str:
    return "Berlin."


with Twicetold("http://127.0.0.1:8420", api_key="any", model="my-model") as client:
    for question in ("What is the capital of Germany?", "Please tell me what the capital of Germany is."):
        found = client.lookup(question)
        if found.answer is not None:
            print(f"{found.cache.tier}:", found.answer.text)
        else:
            answer = my_own_model(question)
            print(f"{found.cache.reason}:", answer)
            client.put(question, answer, lookup=found.id)
            time.sleep(0.5)  # what was put is indexed behind the answer
