"""The answer cache without the proxy: an app that calls its model itself asks first, and puts what the model said.

Prints:

    What is the capital of Germany?
      no hit: miss; the model says Berlin.
      kept: True
    Please tell me what the capital of Germany is.
      a hit: same_wording; Berlin.
"""

import time
from typing import Any

import httpx

gateway = httpx.Client(base_url="http://127.0.0.1:8420", headers={"Authorization": "Bearer any"})


def my_own_model(_: Any) -> str:
    return "Berlin."


def ask(text: str) -> None:
    print(text)
    request = {"model": "my-model", "messages": [{"role": "user", "content": text}]}
    found = gateway.post("/v1/cache/lookup", json={"request": request}).json()
    if found["hit"]:
        print(f"  a hit: {found['reason']};", found["response"]["choices"][0]["message"]["content"])
        return
    answer = my_own_model(request)
    print(f"  no hit: {found['reason']}; the model says", answer)
    put = {"request": request, "answer": answer, "lookup": found["id"]}
    print("  kept:", gateway.put("/v1/cache/entries", json=put).json()["kept"])


ask("What is the capital of Germany?")
time.sleep(0.5)  # what was put is indexed behind the answer
ask("Please tell me what the capital of Germany is.")
