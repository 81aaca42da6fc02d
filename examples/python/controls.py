"""What a caller can ask of the cache: a name for the answer, a fresh one, none that is made now.

Prints:

    full   miss              kept an hour under the tag faq
    exact  same_request      asked again
    kv     prefix            a fresh one, please
    504: only what is stored, and it is not
"""

from typing import Any

from openai import APIStatusError, OpenAI

client = OpenAI(base_url="http://127.0.0.1:8420/v1", api_key="any")


def ask(text: str, said: str, **more: Any) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="demo", messages=[{"role": "user", "content": text}], **more
    )
    print(f"{raw.headers['x-twicetold-tier']:6} {raw.headers['x-twicetold-reason']:17}", said)


ask("What is a tag?", "kept an hour under the tag faq", extra_body={"cache": {"ttl": 3600, "tags": ["faq"]}})
ask("What is a tag?", "asked again")
ask("What is a tag?", "a fresh one, please", extra_headers={"Cache-Control": "no-cache"})
try:
    ask("What is a scope?", "", extra_headers={"Cache-Control": "only-if-cached"})
except APIStatusError as error:
    print(f"{error.status_code}: only what is stored, and it is not")
