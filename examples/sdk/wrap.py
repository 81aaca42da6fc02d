"""Keep the official client: `twicetold.wrap` gives it cache arguments and `.cache`.

Prints:

    full   Prefix caching keeps the KV blocks of ...
    exact  Prefix caching keeps the KV blocks of ...
"""

from openai import OpenAI

import twicetold

client = twicetold.wrap(OpenAI(base_url="http://127.0.0.1:8420/v1", api_key="any"))
for _ in range(2):
    completion = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": "What is prefix caching?"}], ttl=600, tags=["faq"]
    )
    print(f"{completion.cache.tier:6}", *(completion.choices[0].message.content or "").split()[:7], "...")
