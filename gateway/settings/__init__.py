"""All configuration: what can be set (`values.py` and the groups beside it), within which bounds (`limits.py`), and how
it is read (`loading.py`)."""

from gateway.settings.cache import CacheSettings, RouteSettings
from gateway.settings.declared import SettingsError
from gateway.settings.engine import EngineSettings, ModelSettings
from gateway.settings.loading import load_settings, read_key, read_model, tell_libraries
from gateway.settings.observing import AccessLogSettings, TracingSettings
from gateway.settings.prompts import NormaliseSettings, PrefixSettings
from gateway.settings.trust import (
    EdgeSettings,
    KeySettings,
    Limits,
    OidcSettings,
    RedactSettings,
    RetentionSettings,
    TenantSettings,
    TlsSettings,
)
from gateway.settings.values import DEMO, Settings, SharedSettings, UpstreamSettings, served_name

__all__ = [
    "DEMO",
    "AccessLogSettings",
    "CacheSettings",
    "EdgeSettings",
    "EngineSettings",
    "KeySettings",
    "Limits",
    "ModelSettings",
    "NormaliseSettings",
    "OidcSettings",
    "PrefixSettings",
    "RedactSettings",
    "RetentionSettings",
    "RouteSettings",
    "Settings",
    "SettingsError",
    "SharedSettings",
    "TenantSettings",
    "TlsSettings",
    "TracingSettings",
    "UpstreamSettings",
    "load_settings",
    "read_key",
    "read_model",
    "served_name",
    "tell_libraries",
]
