"""Operations -> an OpenAPI 3.1 document. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.openapi.fields import ALSO, KINDS, SAYS

JSON = dict[str, Any]

_REF = "#/components/schemas/{model}"
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "the field that is wrong"},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of the path, the query or the headers."""

    name: str
    says: str
    where: Literal["query", "path", "header"] = "query"
    kind: str = "string"


@dataclass(frozen=True, slots=True)
class Operation:
    """One route and method. `gives` says in words what comes back; `example` is one."""

    method: str
    path: str
    summary: str
    gives: str = ""
    body: type[BaseModel] | None = None
    params: tuple[Param, ...] = ()
    status: int = 200
    media: str = "application/json"
    takes: str = "application/json"
    example: Any = None

    @property
    def area(self) -> str:
        """Which key it wants: "chat" a caller's, "admin" the admin's, "probes" none."""
        if self.path.startswith("/admin/api"):
            return "admin"
        if self.path.startswith("/v1/cache"):
            return "cache"
        return "chat" if self.path.startswith("/v1/") else "probes"


def document(operations: Iterable[Operation], version: str) -> JSON:
    """The OpenAPI document of all `operations`."""
    every = list(operations)
    bodies = sorted({one.body for one in every if one.body is not None}, key=_name)
    named, schemas = models_json_schema([(body, "validation") for body in bodies], ref_template=_REF)
    told = {name: _told(name, schema) for name, schema in schemas.get("$defs", {}).items()}
    paths: JSON = {}
    for one in every:
        schema = {} if one.body is None else named[one.body, "validation"]
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schema)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Twicetold", "version": version},
        "paths": paths,
        "components": {
            "schemas": {**told, "Error": ERROR},
            "securitySchemes": {
                "caller": {"type": "http", "scheme": "bearer", "description": "whoever has the same is one tenant"},
                "admin": {"type": "http", "scheme": "bearer", "description": "the admin key, where there is one"},
            },
        },
    }


def _told(name: str, schema: JSON) -> JSON:
    """The schema of a body, its fields in words."""
    fields = {**schema.get("properties", {}), **ALSO.get(name, {})}
    return {**schema, "properties": {field: _field(field, told) for field, told in fields.items()}}


def _field(name: str, told: JSON) -> JSON:
    kind = {"type": KINDS[name]} if name in KINDS and not told.keys() & {"type", "anyOf"} else {}
    says = {"description": SAYS[name]} if name in SAYS else {}
    return {**told, **kind, **says}


def _name(body: type[BaseModel]) -> str:
    return f"{body.__module__}.{body.__qualname__}"


def _operation(one: Operation, body: JSON) -> JSON:
    shown: JSON = {"schema": {"type": "object"} if one.media == "application/json" else {"type": "string"}}
    if one.example is not None:
        shown["example"] = one.example
    answers: JSON = {str(one.status): {"description": one.gives or "done", "content": {one.media: shown}}}
    if one.area != "probes":
        answers["4XX"] = {
            "description": "what is wrong, and in which field",
            "content": {"application/json": {"schema": {"$ref": _REF.format(model="Error")}}},
        }
    told: JSON = {
        "operationId": _id(one),
        "summary": one.summary,
        "tags": [one.area],
        "responses": answers,
    }
    if one.params:
        told["parameters"] = [
            {
                "name": param.name,
                "in": param.where,
                "required": param.where == "path",
                "description": param.says,
                "schema": {"type": param.kind},
            }
            for param in one.params
        ]
    if one.body is not None:
        told["requestBody"] = {"required": True, "content": {one.takes: {"schema": body}}}
    elif one.takes != "application/json":
        told["requestBody"] = {"required": True, "content": {one.takes: {"schema": {"type": "string"}}}}
    if one.area in ("chat", "cache"):
        told["security"] = [{"caller": []}, {}]
    elif one.area == "admin":
        told["security"] = [{"admin": []}, {}]
    return told


def _id(one: Operation) -> str:
    words = one.path.replace("{", "").replace("}", "").replace(":path", "").strip("/").replace("/", "_")
    return f"{one.method.lower()}_{words.replace('.', '_').replace('-', '_')}"
