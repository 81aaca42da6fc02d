"""An answer that was given in one piece is streamed when it is asked for again, and the other way round.

Prints:

    full
    Prefix caching keeps the KV blocks of a prompt and reuses them when another prompt begins with the same tokens.
    exact
    Prefix caching keeps the KV blocks of a prompt and reuses them when another prompt begins with the same tokens.
"""

from typing import Any

from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:8420/v1", api_key="any")
question: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "What is prefix caching?"}]}

whole = client.chat.completions.with_raw_response.create(**question)
print(whole.headers["x-twicetold-tier"])
print(whole.parse().choices[0].message.content)

parts = client.chat.completions.with_raw_response.create(**question, stream=True)
print(parts.headers["x-twicetold-tier"])
for chunk in parts.parse():
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
