"""Twicetold's own client: cache controls are arguments, and every answer knows where it came from.

Prints:

    full     0 tokens saved
    exact    76 tokens saved
    semantic 76 tokens saved
    exact    streamed: Prefix caching keeps the KV blocks of ...
    feedback: kept
"""

import time

from twicetold import Twicetold

with Twicetold("http://127.0.0.1:8420", api_key="any", model="demo") as client:
    for question in ("What is prefix caching?", "What is prefix caching?", "Explain what prefix caching is."):
        answer = client.chat(question, ttl=3600, tags=["faq"])
        print(f"{answer.cache.tier:8} {answer.cache.saved_tokens} tokens saved")
        time.sleep(0.5)  # what was asked is indexed behind the answer

    with client.chat("What is prefix caching?", stream=True) as stream:
        text = "".join(chunk.text for chunk in stream)
    print(f"{stream.cache.tier:8} streamed:", *text.split()[:7], "...")

    said = client.feedback(answer, "good")
    print("feedback:", said.state)
