"""A client of the Twicetold gateway: ask, see where an answer came from, say what it was worth, look after the cache.

from twicetold import Twicetold

with Twicetold(model="demo") as client:
    answer = client.chat("What is prefix caching?", ttl=3600, tags=["faq"])
    print(answer.text, answer.cache.tier)
"""

from twicetold.admin import Entry, Imported, Invalidation, Said, Stats, TierStats, Warmed, WholeEntry
from twicetold.answers import ChatAnswer, Choice, Chunk, Message, ToolCall, Usage
from twicetold.async_client import AsyncTwicetold
from twicetold.cache import CacheInfo, NotTwicetoldError, Tier
from twicetold.client import Twicetold
from twicetold.controls import CacheOptions
from twicetold.embeddings import Embeddings
from twicetold.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    NotCachedError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestTooLargeError,
    ServerError,
    StreamError,
    TwicetoldError,
    UnavailableError,
    UnprocessableError,
    UnreadableError,
    UpstreamTimeoutError,
)
from twicetold.options import ChatOptions
from twicetold.responses import ResponseAnswer
from twicetold.retrying import Retries
from twicetold.store import Kept, Lookup
from twicetold.streams import AsyncChatStream, AsyncStream, ChatStream, Stream
from twicetold.wrapping import wrap

__version__ = "0.1.0"
__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncChatStream",
    "AsyncStream",
    "AsyncTwicetold",
    "AuthenticationError",
    "BadRequestError",
    "CacheInfo",
    "CacheOptions",
    "ChatAnswer",
    "ChatOptions",
    "ChatStream",
    "Choice",
    "Chunk",
    "ConflictError",
    "Embeddings",
    "Entry",
    "Imported",
    "Invalidation",
    "Kept",
    "Lookup",
    "Message",
    "NotCachedError",
    "NotFoundError",
    "NotTwicetoldError",
    "PermissionDeniedError",
    "RateLimitError",
    "RequestTooLargeError",
    "ResponseAnswer",
    "Retries",
    "Said",
    "ServerError",
    "Stats",
    "Stream",
    "StreamError",
    "Tier",
    "TierStats",
    "ToolCall",
    "Twicetold",
    "TwicetoldError",
    "UnavailableError",
    "UnprocessableError",
    "UnreadableError",
    "UpstreamTimeoutError",
    "Usage",
    "Warmed",
    "WholeEntry",
    "wrap",
]
