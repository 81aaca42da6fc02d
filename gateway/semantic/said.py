"""What a model said, where JSON was asked for."""

import orjson


def json_in(said: str) -> object:
    """The JSON, in a fence or bare. Raises `orjson.JSONDecodeError` when it is none."""
    found: object = orjson.loads(said.strip().removeprefix("```json").removeprefix("```").removesuffix("```"))
    return found
