"""What answers of the same words have in common: questions that share one are kin, or it says nothing about them."""

from hashlib import blake2b

import orjson

from backends.chat import Completion

DIGEST_BYTES = 16
FOLDED_CHARS = 100_000  # of an answer whose case and spaces do not count; to fold more holds everybody up


def digest_of_words(completion: Completion) -> bytes:
    """The same for answers of the same words."""
    text = completion.text
    folded = " ".join(text.casefold().split()) if len(text) <= FOLDED_CHARS else text
    said = folded.encode("utf-8", "surrogatepass")
    messages = [choice.message for choice in completion.choices]
    return blake2b(said or orjson.dumps(messages, default=dict), digest_size=DIGEST_BYTES).digest()
