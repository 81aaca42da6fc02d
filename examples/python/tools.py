"""A tool call comes from memory like any answer: the same call, with the same id, so the talk after it is known, too.

Prints:

    full   temperature {'city': 'Oslo'}
    exact  temperature {'city': 'Oslo'}
"""

import json
from typing import Any

from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:8420/v1", api_key="any")
temperature: Any = {
    "type": "function",
    "function": {
        "name": "temperature",
        "description": "How warm it is in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}

for _ in range(2):
    raw = client.chat.completions.with_raw_response.create(
        model="demo",
        messages=[{"role": "user", "content": "How warm is it in Oslo?"}],
        tools=[temperature],
        tool_choice="required",
    )
    call: Any = (raw.parse().choices[0].message.tool_calls or [])[0]
    print(f"{raw.headers['x-twicetold-tier']:6}", call.function.name, json.loads(call.function.arguments))
