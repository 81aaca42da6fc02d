"""Twenty callers ask the same at the same moment: one generation, twenty answers.

Prints:

    full 1, exact 19; different answers: 1
"""

import asyncio
from collections import Counter

from openai import AsyncOpenAI


async def main() -> None:
    async with AsyncOpenAI(base_url="http://127.0.0.1:8420/v1", api_key="any") as client:

        async def ask() -> tuple[str, str | None]:
            raw = await client.chat.completions.with_raw_response.create(
                model="demo", messages=[{"role": "user", "content": "What is single-flight?"}]
            )
            return raw.headers["x-twicetold-tier"], raw.parse().choices[0].message.content

        tiers, answers = zip(*await asyncio.gather(*(ask() for _ in range(20))), strict=True)
        count = Counter(tiers)
        print(f"full {count['full']}, exact {count['exact']}; different answers: {len(set(answers))}")


asyncio.run(main())
