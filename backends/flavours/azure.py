"""Azure OpenAI: a deployment's own URL, a version in the query, a header for the key, and what its filter found."""

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qs, urlencode, urlsplit

from backends.flavours.base import Endpoints
from backends.flavours.openai import openai_like
from backends.http import api_root
from backends.openai_wire import Dialect

API_VERSION = "2024-10-21"  # the last that is no preview, and without predictions; `/openai/v1` needs none


def _endpoints(url: str) -> Endpoints:
    """`https://NAME.openai.azure.com/openai/deployments/DEPLOYMENT[?api-version=...]`, or `.../openai/v1`."""
    parts = urlsplit(url.strip())
    versions = parse_qs(parts.query).get("api-version")
    plain = parts._replace(query="").geturl()
    if "/deployments/" not in parts.path:
        query = f"?{urlencode({'api-version': versions[0]})}" if versions else ""
        return Endpoints(api_root(plain), f"/chat/completions{query}", f"/models{query}")
    query = urlencode({"api-version": (versions or [API_VERSION])[0]})
    resource, _, deployment = plain.rstrip("/").removesuffix("/chat/completions").rpartition("/deployments/")
    api_root(resource)  # complains of what is no URL
    # The list is of what the resource could deploy, not of what it has: it only tells that the key works.
    return Endpoints(resource, f"/deployments/{deployment}/chat/completions?{query}", health=f"/models?{query}")


def _headers(key: str) -> Mapping[str, str]:
    return {"api-key": key} if key else {}


AZURE = replace(
    openai_like("azure", dialect=Dialect(of_choices=frozenset({"content_filter_results"})), takes_predictions=True),
    endpoints=_endpoints,
    headers=_headers,
)
