"""What may be shared among tenants, and where it lies. Pure.

The commons are a scope like any other, of a tenant that no credential stands for. Route and number of witnesses are
part of it: what crossed when two were enough is not found when the operator asks for five.
"""

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b

from backends.chat import ChatRequest, Usage
from gateway.answers.base import BACKEND, REFRESH, Entry
from gateway.answers.selection import Selection
from gateway.controls import Controls
from gateway.identity.canonical import Fingerprints, fingerprints_in
from gateway.identity.scope import Scope
from gateway.policy import Rules

COMMONS = "commons"  # no name of a tenant: those are hexadecimal, or `ANONYMOUS`
COPY = "shared:"  # a tag of copies of shared answers, before whose they were
COPY_TAG = "shared-tag:"  # another one, before a digest of a tag that the answer wore: with whose it was, and without
COPY_TAG_BYTES = 12
LEAST_WITNESSES = 2
TELLING = ("model", "system_fingerprint")  # what a model says of itself; the rest may be of the tenant or its prefixes
CROSSING = frozenset({BACKEND, REFRESH})  # what a backend of ours said to a tenant: nothing that somebody brought


def refusal(request: ChatRequest, rules: Rules, controls: Controls, salt: str, *, is_key_apart: bool) -> str | None:
    """Why this request has no part in the commons; None when it has. In the order of cheapness."""
    if rules.share_tenants < LEAST_WITNESSES:
        return "not_shared"
    if controls.namespace:
        return "namespace"
    if salt:
        return "salt"
    if controls.only_if_cached or controls.max_age_s is not None:
        return "only_looks"  # who asks without generating, or for an age, could feel out what others asked and when
    if is_key_apart:
        return "key_apart"
    if rules.pads_shared_hits and ((request.params.get("n") or 1) > 1 or request.params.get("logprobs")):
        return "not_padded"  # what comes with every word is not told word by word
    if request.native is not None:
        return "only_exact"
    called = (message.get("tool_calls") or message.get("function_call") for message in request.messages)
    if any(called) or any(message.get("role") in ("tool", "function") for message in request.messages):
        return "tools_called"
    return None


@dataclass(frozen=True)
class Place:
    """Where the answer to one request lies in the commons, and how many tenants have to ask for it first."""

    secret: bytes = field(repr=False)
    scope: bytes
    canonical: bytes
    least: int

    @classmethod
    def of(cls, secret: bytes, rules: Rules, model: str, revision: str, canonical: bytes) -> "Place":
        wall = f"{rules.share_tenants} of {rules.route}"
        scope = Scope(COMMONS, model, revision, salt=wall).digest(secret)
        return cls(secret, scope, canonical, rules.share_tenants)

    @cached_property
    def fp(self) -> Fingerprints:
        return fingerprints_in(self.secret, self.scope, self.canonical)


def trust_of(tenant: str, namespace: str, tags: tuple[str, ...]) -> dict[str, str]:
    """Whose answer a kept one is, and who may read it: its tenant, or those of its route that share."""
    if tenant == COMMONS:
        return {"writer": namespace, "readers": "those who share on its route"}
    copied = next((tag.removeprefix(COPY) for tag in tags if tag.startswith(COPY)), tenant)
    return {"writer": copied, "readers": tenant}


def shared(entry: Entry, place: Place) -> Entry:
    """An answer of a tenant as the commons keep it: without what only its own request could know.

    In the commons the namespace is the tenant whose answer it is: so its erasure finds it, in every store.
    """
    usage, extra = entry.completion.usage, entry.completion.extra
    return replace(
        entry,
        id=place.fp.entry_id,
        scope=place.fp.scope,
        exact=place.fp.exact,
        compat=place.fp.compat,
        tenant=COMMONS,
        namespace=entry.tenant,
        completion=replace(
            entry.completion,
            usage=Usage(usage.prompt_tokens, usage.completion_tokens),
            extra={name: extra[name] for name in TELLING if name in extra},
        ),
        sliding_s=None,  # how often others use it is not to be seen from its end
        embedder=None,
        vector=None,
        good=0,
        bad=0,
    )


def is_shared(entry: Entry) -> bool:
    """Whether an entry lies in the commons."""
    return entry.tenant == COMMONS


def is_undisputed(entry: Entry) -> bool:
    """Whether a shared answer may be given to other words: nobody has said that it is bad."""
    return is_shared(entry) and entry.is_fresh(time.time()) and not entry.bad


def copied_from(common: Entry) -> tuple[str, ...]:
    """The tags of a copy of a shared answer: whose it was, and marks of what it wore there."""
    worn = (_copy_tag(owner, tag) for tag in common.tags for owner in (common.namespace, ""))
    return (COPY + common.namespace, *worn)


def _copy_tag(owner: str, tag: str) -> str:
    said = f"{owner}\n{tag}".encode("utf-8", "surrogatepass")
    return COPY_TAG + blake2b(said, digest_size=COPY_TAG_BYTES).hexdigest()


def written_by(tenant: str, canonical: bytes) -> list[Selection]:
    """The shared answer to a request, if it was this tenant's, and copies of it."""
    return [
        Selection(tenant=COMMONS, namespace=tenant, canonical=canonical),
        Selection(tag=COPY + tenant, canonical=canonical),
    ]


def in_commons(selection: Selection) -> list[Selection]:
    """What of a tenant's, or of everybody's, that is selected others share, and copies of it."""
    if selection.scope or selection.id or selection.exact:
        return []
    is_there = selection.tenant == COMMONS  # there the namespace says whose it is
    if selection.namespace and not is_there:
        return []  # what has one is not shared
    owner = (selection.namespace if is_there else selection.tenant) or ""
    copies = replace(selection, tenant=None, namespace=None)
    there = [] if is_there or not owner else [replace(selection, tenant=COMMONS, namespace=owner)]
    if selection.tag is not None:
        there.append(replace(copies, tag=_copy_tag(owner, selection.tag)))
    elif owner:
        there.append(replace(copies, tag=COPY + owner))
    return there
