"""One question in four ways, and the tier that answers each.

Prints:

    full      Prefix caching keeps the KV blocks of a prompt and ...
    exact     Prefix caching keeps the KV blocks of a prompt and ...
    semantic  Prefix caching keeps the KV blocks of a prompt and ...
    kv        A block is a run of 32 tokens with the ...
"""

import time
from typing import Any

from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:8420/v1", api_key="any")


def ask(messages: list[Any]) -> str:
    raw = client.chat.completions.with_raw_response.create(model="demo", messages=messages)
    answer = raw.parse().choices[0].message.content or ""
    print(f"{raw.headers['x-twicetold-tier']:9}", *answer.split()[:10], "...")
    return answer


question = {"role": "user", "content": "What is prefix caching?"}
answer = ask([question])
time.sleep(0.5)  # what was asked is indexed behind the answer
ask([question])
ask([{"role": "user", "content": "Explain what prefix caching is."}])
ask([question, {"role": "assistant", "content": answer}, {"role": "user", "content": "How large is a block?"}])
