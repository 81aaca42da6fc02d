"""A stored answer as a line of text that another gateway can take in, and back. Pure.

A line says what an entry is, not where it lies: keys are made anew from tenant, model, namespace and request under the
secret of whoever takes it in, so no line can put an answer where another tenant finds it. Vectors are made anew, too.
Names of tenants mean something among gateways of one secret only. What was asked under a cache_salt is bound to its
home as well: the salt was never kept, so the scope goes along under a mark.
"""

import hmac
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from unicodedata import normalize

import orjson

from backends.chat import PROMPT, ChatRequest, Choice, Completion, Usage
from gateway.answers.base import DIGEST_BYTES, IMPORT, Entry
from gateway.answers.codec import encode
from gateway.commons.rule import COMMONS
from gateway.curation.lines import AnswerLine, EntryLine, home_of, parsed
from gateway.errors import InvalidRequest
from gateway.fit import malformed, misfit, of_others
from gateway.identity.canonical import entry_id_of, fingerprints_of, question_of
from gateway.identity.scope import SCHEMA, Scope, is_tenant
from gateway.policy import refuse_to_keep

SLACK_S = 86_400.0  # between two machines' clocks


@dataclass(frozen=True, slots=True)
class Taken:
    """An entry that was read, ready to be kept."""

    entry: Entry
    hits: int


@dataclass(frozen=True, slots=True)
class Movement:
    """Whose the entries are to be: everything of `into`, if it is given, else as `tenants` says, else as they were."""

    into: str = ""
    tenants: tuple[tuple[str, str], ...] = ()

    def of(self, tenant: str) -> str:
        return self.into or dict(self.tenants).get(tenant, tenant)


def entry_line(secret: bytes, entry: Entry, hits: int, cursor: str, original: bytes | None = None) -> bytes:
    """One entry. `original` is the canonical request of the one that it is an alias of."""
    plain = Scope(entry.tenant, entry.model, entry.revision, entry.namespace).digest(secret)
    salted = {"scope": entry.scope.hex(), "mark": _mark(secret, entry)} if entry.scope != plain else None
    line = {
        "kind": "entry",
        "cursor": cursor,
        "home": home_of(secret),
        "id": entry.id,
        "tenant": entry.tenant,
        "namespace": entry.namespace,
        "model": entry.model,
        "revision": entry.revision,
        "salted": salted,
        "request": orjson.Fragment(entry.canonical),
        "question": entry.question,
        "answer": orjson.Fragment(encode(entry.completion)),
        "created_s": entry.created_s,
        "expires_s": entry.expires_s,
        "elapsed_s": entry.elapsed_s,
        "sliding_s": entry.sliding_s,
        "tags": list(entry.tags),
        "original": None if original is None else orjson.Fragment(original),
        "hits": hits,
        "good": entry.good,
        "bad": entry.bad,
        "schema": entry.schema,
    }
    return orjson.dumps({key: value for key, value in line.items() if value is not None}) + b"\n"


def read_line(secret: bytes, raw: bytes, movement: Movement, now_s: float) -> Taken | None:
    """The entry of a line; None for the first and the last line of a file. Raises `InvalidRequest` naming the field."""
    line = parsed(raw)
    return None if line is None else _taken(secret, line, movement, now_s)


def _taken(secret: bytes, line: EntryLine, movement: Movement, now_s: float) -> Taken:
    if line.schema_ != SCHEMA:
        raise InvalidRequest(f"schema {line.schema_} is of another version; this gateway reads {SCHEMA}.", "schema")
    if line.created_s > now_s + SLACK_S:
        raise InvalidRequest("created_s is in the future.", "created_s")
    if line.expires_s is not None and line.expires_s < line.created_s:
        raise InvalidRequest("expires_s is before created_s.", "expires_s")
    tenant = _tenant(secret, line, movement)
    scope = _scope(secret, line, tenant)
    _check_messages(line.request, "request")
    fp = fingerprints_of(secret, scope, line.request)
    alias_of = None
    if line.original is not None:
        _check_messages(line.original, "original")
        alias_of = entry_id_of(secret, fingerprints_of(secret, scope, line.original).exact)
    completion = _completion(line.answer)
    if (field := malformed(completion)) is not None:
        raise InvalidRequest(f"answer.{field} is none of an answer.", f"answer.{field}")
    if (reason := misfit(_asked(line.request), completion)) is not None:
        raise InvalidRequest(f"answer does not fit the request: {reason}.", "answer")
    is_prompt = line.request["messages"][0]["role"] == PROMPT
    if (refusal := refuse_to_keep(completion, may_be_cut=is_prompt)) is not None:
        raise InvalidRequest(f"answer is none that is kept: {refusal}.", "answer")
    _check_question(line)
    return Taken(
        Entry(
            id=fp.entry_id,
            scope=scope,
            exact=fp.exact,
            compat=fp.compat,
            canonical=fp.canonical,
            question=line.question,
            model=line.model,
            completion=completion,
            created_s=line.created_s,
            expires_s=line.expires_s,
            elapsed_s=line.elapsed_s,
            tags=tuple(line.tags),
            tenant=tenant,
            namespace=line.namespace,
            revision=line.revision,
            schema=line.schema_,
            sliding_s=line.sliding_s,
            alias_of=alias_of,
            good=line.good,
            bad=line.bad,
            origin=IMPORT,
        ),
        line.hits,
    )


def _tenant(secret: bytes, line: EntryLine, movement: Movement) -> str:
    tenant = movement.of(line.tenant)
    is_at_home = line.home == home_of(secret)
    if tenant == line.tenant and not is_at_home and tenant != "anonymous":
        raise InvalidRequest(
            f"tenant {tenant!r} is one of another deployment's; say who it is here (--map OLD=NEW, --into TENANT).",
            "tenant",
        )
    if tenant == COMMONS:
        raise InvalidRequest("what tenants share is never imported: they have to ask it here.", "tenant")
    if not is_tenant(tenant) and not (is_at_home and line.salted is not None and tenant == line.tenant):
        raise InvalidRequest(f"tenant {tenant!r} is no name of a tenant.", "tenant")
    return tenant


def _scope(secret: bytes, line: EntryLine, tenant: str) -> bytes:
    if line.salted is None:
        return Scope(tenant, line.model, line.revision, line.namespace).digest(secret)
    if line.home != home_of(secret) or tenant != line.tenant:
        raise InvalidRequest(
            "it was asked under a cache_salt, which is not in the file: only a gateway of the same secret can take it"
            " in, and for the same tenant.",
            "salted",
        )
    scope = bytes.fromhex(line.salted.scope)
    assert len(scope) == DIGEST_BYTES
    wanted = _marked(secret, scope, tenant, line.model, line.revision, line.namespace)
    if not hmac.compare_digest(wanted.encode(), line.salted.mark.encode()):
        raise InvalidRequest("salted is not as this gateway wrote it.", "salted")
    return scope


def _check_messages(request: dict[str, Any], field: str) -> None:
    """What is needed of a request to make its keys."""
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest(f"{field}.messages must be a list of messages.", f"{field}.messages")
    for number, message in enumerate(messages):
        where = f"{field}.messages[{number}]"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequest(f"{where} must be an object with a role.", where)
        parts = message.get("content")
        for part in parts if isinstance(parts, list) else ():
            is_part = isinstance(part, dict) and isinstance(part.get("type"), str)
            if not is_part or (part["type"] == "text" and not isinstance(part.get("text"), str)):
                raise InvalidRequest(f"{where}.content must be a text or a list of parts.", f"{where}.content")


def _asked(request: dict[str, Any]) -> ChatRequest:
    params = {name: value for name, value in request.items() if name != "messages"}
    return ChatRequest("", tuple(request["messages"]), params)


def _check_question(line: EntryLine) -> None:
    """Other words find an entry by its question: that must be what was asked."""
    if line.question is None:
        return
    asked = question_of(ChatRequest("", tuple(line.request["messages"])))
    if asked is None or normalize("NFC", line.question).strip() != asked:
        raise InvalidRequest("question is not what the request asks.", "question")


def _completion(answer: AnswerLine) -> Completion:
    usage = answer.usage
    return of_others(
        Completion(
            tuple(Choice(choice.message, choice.finish_reason, choice.logprobs) for choice in answer.choices),
            Usage(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.extra),
            answer.extra,
        )
    )


def _mark(secret: bytes, entry: Entry) -> str:
    return _marked(secret, entry.scope, entry.tenant, entry.model, entry.revision, entry.namespace)


def _marked(secret: bytes, scope: bytes, *names: str) -> str:
    said = scope + orjson.dumps(names)
    return blake2b(said, key=secret, digest_size=16, person=b"salted export").hexdigest()
