"""`wrap` gives an official `openai` client the gateway's words. The `openai` package is loaded when it is called.

client = wrap(OpenAI(base_url="http://127.0.0.1:8420/v1", api_key="any"))
answer = client.chat.completions.create(model="demo", messages=[...], ttl=3600)
print(answer.cache.tier)
"""

from typing import TYPE_CHECKING, overload

from twicetold.controls import CacheOptions

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

    from twicetold.wrapping.asynchronous import AsyncCachedOpenAI
    from twicetold.wrapping.synchronous import CachedOpenAI


@overload
def wrap(client: "OpenAI", *, cache: CacheOptions | None = ..., admin_key: str | None = ...) -> "CachedOpenAI": ...
@overload
def wrap(
    client: "AsyncOpenAI", *, cache: CacheOptions | None = ..., admin_key: str | None = ...
) -> "AsyncCachedOpenAI": ...
def wrap(
    client: "OpenAI | AsyncOpenAI", *, cache: CacheOptions | None = None, admin_key: str | None = None
) -> "CachedOpenAI | AsyncCachedOpenAI":
    """The same client with cache arguments and `.cache`; the one given stays as it is, and both share connections.

    `cache` is of every call that does not say otherwise; `admin_key` is for `.twicetold`, the gateway's own client.
    """
    from openai import AsyncOpenAI, OpenAI

    from twicetold.wrapping.asynchronous import AsyncCachedOpenAI
    from twicetold.wrapping.copying import told
    from twicetold.wrapping.synchronous import CachedOpenAI

    if isinstance(client, OpenAI):
        return told(client, CachedOpenAI, cache, admin_key)
    if isinstance(client, AsyncOpenAI):
        return told(client, AsyncCachedOpenAI, cache, admin_key)
    raise TypeError(f"an OpenAI or AsyncOpenAI client is wanted, not {type(client).__name__}")
