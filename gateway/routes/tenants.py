"""What tenants may do and what they used, in the admin API.

GET    /admin/api/tenants                whose policy cannot be read is "unreadable", and may do nothing
GET    /admin/api/tenants/TENANT         a tenant's name, "anonymous", or "*": every tenant that is not named
PUT    /admin/api/tenants/TENANT         {"models": ["gpt-*"], "limits": {"requests_per_minute": 60}}
DELETE /admin/api/tenants/TENANT         what the configuration says of it holds again
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from gateway.callers.caller import Caller
from gateway.errors import UnknownId
from gateway.quota.policies import check_subject
from gateway.quota.records import EVERYBODY
from gateway.quota.usage import usage_of
from gateway.routes.intake import Intake
from gateway.routes.reading import read_json

Count = Annotated[StrictInt, Field(ge=0, le=10**15)]
Number = Annotated[float, Field(ge=0, le=10**15)]
Pattern = Annotated[StrictStr, Field(min_length=1, max_length=256)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LimitsBody(_Body):
    """How much, of this tenant or this key. What is left out has no limit."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrent: Count | None = None
    tokens_per_day: Count | None = None
    tokens_per_month: Count | None = None
    money_per_month: Number | None = None
    count_hits: StrictBool = False


class PolicyBody(_Body):
    """All that is said of a tenant; what is left out is as it would be without a policy."""

    name: Annotated[StrictStr, Field(max_length=200)] = ""
    models: Annotated[list[Pattern], Field(max_length=100)] = ["*"]
    semantic_mode: Literal["off", "shadow", "on"] = "on"
    max_ttl_s: Annotated[float, Field(ge=0, le=10**10)] | None = None
    min_similarity: Annotated[float, Field(ge=0, le=1)] = 0.0
    hit_details: StrictBool = True
    controls: list[Literal["*", "no-cache", "max-age", "stale", "ttl", "tags"]] = ["*"]
    refuse_controls: StrictBool = False
    share: StrictBool = True
    limits: LimitsBody = LimitsBody()


def add_tenants(routes: APIRouter, intake: Intake) -> None:
    """Add them to the admin API."""
    policies, quota = intake.policies, intake.quota

    async def told(tenant: str) -> dict[str, Any]:
        said = policies.told().get(tenant, {"policy": None, "source": None})
        limits = () if tenant == EVERYBODY else policies.of(Caller(tenant)).limits
        usage = None
        if limits:
            own = limits[0][1]
            usage = usage_of(await quota.account(tenant, own), own, quota.moment)
        return {"tenant": tenant, **said, "usage": usage}

    @routes.get("/tenants")
    async def every() -> dict[str, Any]:
        """Whoever something is said of, and whoever used something of a limit."""
        known = policies.told().keys() | {name for name, _ in quota.accounts if "/" not in name}
        return {"data": [await told(tenant) for tenant in sorted(known)]}

    @routes.get("/tenants/{tenant}")
    async def one(tenant: str) -> dict[str, Any]:
        check_subject(tenant)
        return await told(tenant)

    @routes.put("/tenants/{tenant}")
    async def say(tenant: str, request: Request) -> dict[str, Any]:
        body = await read_json(PolicyBody, request, intake.max_body_bytes)
        await policies.say(tenant, body.model_dump(exclude_unset=True, exclude_none=True))
        return await told(tenant)

    @routes.delete("/tenants/{tenant}")
    async def unsay(tenant: str) -> dict[str, Any]:
        if not await policies.unsay(tenant):
            raise UnknownId(f"Nothing was said at run time of tenant {tenant!r}.", "tenant")
        return await told(tenant)
