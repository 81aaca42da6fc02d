"""POST /admin/api/warm: have a question answered and kept before anybody asks it.

    {"request": {chat request}, "api_key": "what its callers send", "refresh": false}
    {"object": "cache.warm", "state": "stored" | "present" | "not_kept", "tier": "full", "entry": "e_...", ...}

One question at a time: whoever has many asks for several at once, and after a break simply for all again, for what is
there already is not asked twice. Only the same question counts as there: one in other words gets an answer of its own.
Nothing of it is in the figures of the ledger; they are about people's requests.
"""

import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr

from backends.chat import ChatRequest, Collector
from gateway.body import ClientGone, while_connected
from gateway.controls import Controls
from gateway.pipeline import Pipeline
from gateway.policy import refuse_to_keep
from gateway.quota.policies import TenantPolicy
from gateway.routes.intake import Intake
from gateway.routes.reading import GONE_STATUS, read_json, read_request
from gateway.values import WITH_REQUEST

NOTHING_NEAR = 2.0  # a cosine that none has


class WarmBody(BaseModel):
    """A chat request as a caller would send it."""

    model_config = ConfigDict(extra="forbid")
    request: dict[str, Any]
    api_key: StrictStr = ""  # what that caller sends as its key
    tenant: StrictStr = ""  # instead of it: the caller's name, as the admin API shows it
    refresh: StrictBool = False  # answer anew what is there already


@dataclass(frozen=True, slots=True)
class Warmer:
    """What the route works on."""

    pipeline: Pipeline
    intake: Intake


def add_warm(routes: APIRouter, warmer: Warmer) -> None:
    """Add it to the admin API."""

    @routes.post("/warm")
    async def warm(request: Request) -> Response:
        try:
            body = await read_json(WarmBody, request, warmer.intake.max_body_bytes, WITH_REQUEST)
            asked, tenant, salt, controls = await read_request(
                warmer.intake, body.request, body.api_key, tenant=body.tenant
            )
            controls = replace(controls, no_cache=controls.no_cache or body.refresh, min_similarity=NOTHING_NEAR)
            policy = warmer.intake.policies.of_tenant(tenant)
            work = _warmed(warmer.pipeline, asked, tenant, salt, controls, policy)
            return JSONResponse(await while_connected(request.receive, warmer.intake.curfew, work))
        except ClientGone:
            return Response(status_code=GONE_STATUS)


async def _warmed(
    pipeline: Pipeline, request: ChatRequest, tenant: str, salt: str, controls: Controls, policy: TenantPolicy
) -> dict[str, Any]:
    """Ask, read to the end, and say what came of it."""
    started, answer = time.perf_counter(), Collector()
    reply = await pipeline.answer(request, tenant, salt, controls, policy)
    async with aclosing(reply.deltas):
        async for delta in reply.deltas:
            answer.add(delta)
    completion, outcome = answer.completion(), reply.outcome
    refusal = None if outcome.is_stored else refuse_to_keep(completion)
    if refusal is None and outcome.entry is None:
        refusal = "fallback" if outcome.fallback else "no_store"
    state = "not_kept" if refusal else "present" if outcome.is_stored else "stored"
    return {
        "object": "cache.warm",
        "state": state,
        "reason": refusal or outcome.reason,
        "tier": outcome.tier,
        "entry": None if refusal else outcome.entry,
        "seconds": time.perf_counter() - started,
        "usage": {
            "prompt_tokens": completion.usage.prompt_tokens,
            "completion_tokens": completion.usage.completion_tokens,
        },
    }
