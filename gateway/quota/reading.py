"""What an operator says of a tenant, read: from the file, the admin API, a kept record, the policy of a key."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from gateway.errors import InvalidRequest
from gateway.settings.declared import SettingsError, build
from gateway.settings.limits import check_tenant
from gateway.settings.trust import Limits, TenantSettings


def read_said(said: Mapping[str, Any], tenant: str = "") -> TenantSettings:
    """Of a tenant, or of a key, which has no name of its own here. Raises `InvalidRequest` naming the field."""
    if not tenant and "tenant" in said:
        raise InvalidRequest("tenant is the key's own, and no part of its policy.", "tenant")
    for key in ("models", "controls"):
        if isinstance(said.get(key), str):  # in settings a text may be a list, here it would be cut at its commas
            raise InvalidRequest(f"{key} must be a list of texts, got a text.", key)
    try:
        read: TenantSettings = build(TenantSettings, {**said, "tenant": tenant or "*"}, "")
        check_tenant(read, "")
    except SettingsError as error:
        raise InvalidRequest(f"{error}.", str(error).split()[0]) from error
    return read


def written(said: TenantSettings) -> dict[str, Any]:
    """As it is kept and told, without the tenant: only what is not as it would be anyway."""
    plain = TenantSettings()
    told = {
        item.name: getattr(said, item.name)
        for item in fields(said)
        if item.name not in ("tenant", "limits") and getattr(said, item.name) != getattr(plain, item.name)
    }
    told = {key: list(value) if isinstance(value, tuple) else value for key, value in told.items()}
    nothing = asdict(Limits())
    limits = {key: value for key, value in asdict(said.limits).items() if value != nothing[key]}
    return {**told, "limits": limits} if limits else told
