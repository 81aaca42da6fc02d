"""The content of input items in the chat vocabulary. Pure; raises `InvalidRequest` naming the place."""

from collections.abc import Callable, Mapping
from typing import Any

from backends.chat import Fields
from gateway.errors import InvalidRequest

Needs = Callable[[str], None]  # told of a field that only a server of this API can serve


def wrong(param: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"{param}: must be {wanted}.", param)


def text_of(fields: Fields, name: str, at: str) -> str:
    """A field that has to be a text."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise wrong(f"{at}.{name}", "a text")
    return value


def content_of(value: Any, at: str, needs: Needs) -> Any:
    """A text or a list of parts; what is one text in one part is that text, as a chat client would send it."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise wrong(at, "a text or a list of parts")
    parts = [_part(part, f"{at}[{index}]", needs) for index, part in enumerate(value)]
    return parts[0]["text"] if len(parts) == 1 and parts[0].keys() == {"type", "text"} else parts


def said_by_model(value: Any, at: str) -> tuple[str | None, str | None]:
    """The text and the refusal of a message the model has said."""
    if isinstance(value, str):
        return value, None
    if not isinstance(value, list):
        raise wrong(at, "a text or a list of parts")
    said: dict[str, list[str]] = {"text": [], "refusal": []}
    for index, part in enumerate(value):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind not in ("output_text", "input_text", "text", "refusal"):
            raise wrong(f"{at}[{index}].type", "output_text or refusal")
        name = "refusal" if kind == "refusal" else "text"
        said[name].append(text_of(part, name, f"{at}[{index}]"))
    text, refusal = ("".join(said[name]) if said[name] else None for name in ("text", "refusal"))
    return text, refusal


def _part(part: Any, at: str, needs: Needs) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(kind, str):
        raise wrong(at, "an object with a type")
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": text_of(part, "text", at)}
    reader = _PARTS.get(kind)
    if reader is None:
        needs(f"{at}.type")
        return {"type": kind}
    return reader(part, at, needs)


def _image(part: Fields, at: str, needs: Needs) -> dict[str, Any]:
    if part.get("image_url") is None:
        needs(f"{at}.file_id") if part.get("file_id") is not None else text_of(part, "image_url", at)
        return {"type": "image_url"}
    image = {"url": text_of(part, "image_url", at)}
    if part.get("detail") not in (None, "auto"):
        image["detail"] = text_of(part, "detail", at)
    return {"type": "image_url", "image_url": image}


def _file(part: Fields, at: str, needs: Needs) -> dict[str, Any]:
    if part.get("file_url") is not None:
        needs(f"{at}.file_url")
    names = ("file_data", "file_id", "filename")
    return {"type": "file", "file": {name: text_of(part, name, at) for name in names if part.get(name) is not None}}


def _audio(part: Fields, at: str, _: Needs) -> dict[str, Any]:
    audio = part.get("input_audio")
    if not isinstance(audio, Mapping):
        raise wrong(f"{at}.input_audio", "an object")
    return {"type": "input_audio", "input_audio": dict(audio)}


_PARTS = {"input_image": _image, "input_file": _file, "input_audio": _audio}
