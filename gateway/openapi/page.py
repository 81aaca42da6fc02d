"""An OpenAPI document -> docs/api.md. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

JSON = dict[str, Any]

AREAS = (
    ("chat", "Generating", "With the caller's key as a bearer token; whoever has the same key is one tenant."),
    ("cache", "The answer cache", "With the caller's key; one's own answers only."),
    ("admin", "Administration", "With the admin key as a bearer token; without one, on this machine only."),
    ("probes", "Probes and pages", "With no key."),
)


def page(spec: JSON, errors: Iterable[tuple[int, str, str]]) -> str:
    """The API reference; `errors` are (status, code, when)."""
    return "\n".join(_lines(spec, errors)) + "\n"


def _lines(spec: JSON, errors: Iterable[tuple[int, str, str]]) -> Iterator[str]:
    yield "# API reference"
    yield ""
    yield "Made by `python -m gateway.openapi.reference > docs/api.md` from what the server serves at `/openapi.json`."
    yield "Controls of the cache that any request may carry, and headers of answers: [requests.md](requests.md)."
    yield ""
    yield "Paths below `/v1` follow OpenAI's API, `/v1/messages` Anthropic's. There, fields that are not named here go"
    yield "to the backend as they are; anywhere else a field that is not named is refused."
    for area, title, says in AREAS:
        yield ""
        yield f"## {title}"
        yield ""
        yield says
        for path, methods in spec["paths"].items():
            for method, operation in methods.items():
                if area in operation["tags"]:
                    yield from _operation(method.upper(), path, operation, spec["components"]["schemas"])
    yield ""
    yield "## Errors"
    yield ""
    yield (
        'Always `{"error": {"message", "type", "param", "code"}}`, `param` naming the field; '
        'on `/v1/messages` `{"type": "error", "error": {"type", "message"}}`.'
    )
    yield ""
    yield "| status | code | when |"
    yield "|---|---|---|"
    for status, code, when in errors:
        yield f"| {status} | `{code}` | {when} |"


def _operation(method: str, path: str, operation: JSON, schemas: JSON) -> Iterator[str]:
    yield ""
    yield f"### {method} {path}"
    yield ""
    ((status, answer),) = ((k, v) for k, v in operation["responses"].items() if k != "4XX")
    (media,) = answer["content"]
    kind = "" if media == "application/json" else f" ({media})"
    yield f"{operation['summary']}. Answers {status}{kind}: {answer['description']}."
    params = operation.get("parameters", ())
    fields = list(_body(operation, schemas))
    if params or fields:
        yield ""
        yield "| field | type | |"
        yield "|---|---|---|"
    for param in params:
        yield f"| `{param['name']}` in the {param['in']} | {param['schema']['type']} | {param['description']} |"
    yield from fields
    if "example" in answer["content"][media]:
        yield ""
        yield "```json"
        yield orjson.dumps(answer["content"][media]["example"], option=orjson.OPT_INDENT_2).decode()
        yield "```"


def _body(operation: JSON, schemas: JSON) -> Iterator[str]:
    for schema in (one["schema"] for one in operation.get("requestBody", {}).get("content", {}).values()):
        if "$ref" not in schema:
            continue
        model = schemas[schema["$ref"].rpartition("/")[2]]
        needed = set(model.get("required", ()))
        for name, field in model.get("properties", {}).items():
            says = "required" if name in needed else _default(field)
            told = field.get("description", "")
            yield f"| `{name}` | {_type(field)} | {'; '.join(part for part in (says, told) if part)} |"


def _default(field: JSON) -> str:
    default = field.get("default")
    return "" if default in (None, "", [], {}) else f"`{orjson.dumps(default).decode()}` unless given"


def _type(field: JSON) -> str:
    if "enum" in field:
        return " or ".join(f"`{one}`" for one in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "$ref" in field:
        return str(field["$ref"].rpartition("/")[2])
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(one) for one in field["anyOf"]))
    kind = field.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(kind)
    return f"list of {_type(field['items'])}" if kind == "array" and field.get("items") else str(kind)
