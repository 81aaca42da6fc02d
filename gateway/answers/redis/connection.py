"""The one way to the shared Redis: a server of its own, or a Redis Cluster. Store, feed, leases and the rest share it.

    value  = await link.call("GET", name)                      one command
    values = await link.together([("GET", a), ("GET", b)])      many, in one round trip; each its value or a CacheError
    value  = await link.run(script, key, arg, arg)              a Lua script that touches the slot of `key` alone
    values = await link.run_all([(script, key, (arg,)), ...])   many of them
    value  = await link.wait("XREAD", "BLOCK", 500, ..., wait_s=0.5)   one that may wait, on connections of its own

Keys come from `link.names` (`keys.py`). Replies are as redis-py gives them for RESP3: bytes, numbers, lists, maps. What
goes wrong is a `CacheError` and nothing else: `Away` when the server cannot be had (it is down, slow, loading, a
replica, or wants another password), `Refused` when it is there and says no to this command. Timeouts are short. While
the server is away a breaker answers in its place, so that only the first requests wait for a timeout; one call at a
time tries again.

`commands` and `round_trips` count what went over the wire; `state` is for the operator.
"""

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis.asyncio
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from gateway.answers.base import CacheError
from gateway.answers.redis.breaker import Breaker
from gateway.answers.redis.keys import Names
from gateway.seal import NO_SEAL, Seal

log = logging.getLogger(__name__)

TIMEOUT_S = 0.5
MOST_AT_ONCE = 32  # connections; more calls wait their turn
MOST_WAITING = 8  # connections of commands that block
TOGETHER = 512  # commands of one pipeline

T = TypeVar("T")
Value: TypeAlias = str | bytes | int | float
Keys: TypeAlias = bytes | Sequence[bytes]  # one, or several of one slot
Client: TypeAlias = "redis.asyncio.Redis | redis.asyncio.RedisCluster"


class Away(CacheError):
    """The server cannot be had now."""


class Refused(CacheError):
    """The server is there and says no to this command; `code` is its first word: OOM, WRONGTYPE, NOPERM ..."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Script:
    """A Lua script. Its keys say which node runs it; every key it touches lies in their slot."""

    body: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.body.encode()).hexdigest())  # noqa: S324 (Redis wants it)


class Link:
    """Connections to the Redis at `url`. Belongs to one event loop. `?cluster=1` in the URL spares the question."""

    def __init__(self, url: str, secret: bytes, *, timeout_s: float = TIMEOUT_S, seal: Seal = NO_SEAL) -> None:
        self.names = Names(secret)
        self.seal = seal  # for all content that is written there
        self.commands = 0
        self.round_trips = 0
        self.failures: Counter[str] = Counter()  # by what it was: "away" or the server's word
        self._url, self._is_cluster = _without_cluster(url)
        self._timeout_s = timeout_s
        self._breaker = Breaker()
        self._trouble = ""
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._client: Client | None = None
        self._patient: Client | None = None
        self._connecting = asyncio.Lock()
        self._is_stale = False
        self.returns = 0  # how often the server came back; whoever remembers another number was not told of something

    # -- what the operator sees ----------------------------------------------------------------------------------

    @property
    def is_cluster(self) -> bool:
        """Known once `open` succeeded, or any call."""
        return bool(self._is_cluster)

    @property
    def is_away(self) -> bool:
        """Whether the last thing heard was that the server cannot be had."""
        return self._breaker.is_open

    @property
    def state(self) -> str:
        """In words: "ready", or what is wrong and for how long."""
        if not self.is_away:
            return "ready"
        return f"away for {self._breaker.away_s:.0f} s: {self._trouble}"

    # -- calls ---------------------------------------------------------------------------------------------------

    def name(self, *parts: str | bytes) -> bytes:
        """A key of this deployment: `link.name("lease", "{3}", digest)`."""
        return self.names.name(*parts)

    async def open(self) -> None:
        """Find out whether the server is there and what it is. Raises `CacheError`; calls connect by themselves."""
        await self.call("PING")

    async def warn_of_policy(self) -> None:
        """Say it when the server may throw away what is not for it to throw away."""
        try:
            told = await self.call("INFO", "memory")
        except Refused:  # not for us to know
            return
        policy = str(told.get("maxmemory_policy", "")) if isinstance(told, dict) else ""
        if policy.startswith("allkeys") and told.get("maxmemory"):
            log.warning(
                "redis may take shelves of answers (maxmemory-policy %s): noeviction or volatile-lru is better", policy
            )

    async def call(self, *command: Value) -> Any:
        """The reply to one command."""
        return await self._asked(1, lambda client: _execute(client, command))

    async def together(self, commands: Sequence[Sequence[Value]]) -> list[Any]:
        """The replies to many commands, in order: those that were refused are `CacheError` values, not raised."""
        replies: list[Any] = []
        for start in range(0, len(commands), TOGETHER):
            some = commands[start : start + TOGETHER]
            replies += await self._asked(len(some), lambda client, some=some: _pipelined(client, some))  # type: ignore[misc]
        return [self._refusal(reply) if isinstance(reply, Exception) else reply for reply in replies]

    async def run(self, script: Script, key: Keys, *args: Value) -> Any:
        """What a script returns."""
        keys = _keys(key)
        try:
            return await self.call("EVALSHA", script.sha, len(keys), *keys, *args)
        except Refused as refused:
            if refused.code != "NOSCRIPT":
                raise
        return await self.call("EVAL", script.body, len(keys), *keys, *args)

    async def run_all(self, runs: Sequence[tuple[Script, Keys, Sequence[Value]]]) -> list[Any]:
        """What many scripts return, in order; `CacheError` values as in `together`."""
        spelled = [(script, (len(_keys(key)), *_keys(key), *args)) for script, key, args in runs]
        replies = await self.together([("EVALSHA", script.sha, *rest) for script, rest in spelled])
        unknown = [n for n, reply in enumerate(replies) if isinstance(reply, Refused) and reply.code == "NOSCRIPT"]
        if unknown:
            again = [("EVAL", script.body, *rest) for script, rest in (spelled[n] for n in unknown)]
            for n, reply in zip(unknown, await self.together(again), strict=True):
                replies[n] = reply
        return replies

    async def wait(self, *command: Value, wait_s: float) -> Any:
        """The reply to a command that may keep us waiting for `wait_s`; it holds no other call up."""
        return await self._asked(1, lambda client: _execute(client, command), wait_s=wait_s)

    async def close(self) -> None:
        """Close the connections."""
        clients = [client for client in (self._client, self._patient) if client is not None]
        self._client = self._patient = None
        for client in clients:
            await client.aclose()

    # -- the one place where the library's errors become ours ------------------------------------------------------

    async def _asked(self, num_commands: int, ask: Callable[[Client], Awaitable[T]], wait_s: float | None = None) -> T:
        if not self._breaker.may_pass():
            raise Away(f"redis is away: {self._trouble}")
        is_trial = self._breaker.is_open
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        try:
            async with self._turn(is_waiting=wait_s is not None):
                if self._breaker.is_open and not is_trial:  # it went while this one waited for its turn
                    raise Away(f"redis is away: {self._trouble}")
                async with asyncio.timeout(3 * self._timeout_s + (wait_s or 0.0)):
                    client = await self._connected(is_patient=wait_s is not None)
                    self.commands += num_commands
                    self.round_trips += 1
                    reply = await ask(client)
            if task is not None and task.cancelling() > before:
                # asyncio.wait_for of Python 3.11, which redis-py sends with, swallows what comes as the sending ends
                raise asyncio.CancelledError
        except asyncio.CancelledError:
            if is_trial:
                self._breaker.give_up()
            raise
        except Exception as error:  # a client library whose server dies under it raises what it likes
            raise self._refusal(error) from error
        self._heard()
        return reply

    @asynccontextmanager
    async def _turn(self, *, is_waiting: bool) -> AsyncIterator[None]:
        if is_waiting:
            yield
        else:
            async with self._slots:
                yield

    def _heard(self) -> None:
        if self._breaker.is_open:
            log.warning("redis is back after %.1f s", self._breaker.away_s)
            self.returns += 1
        self._breaker.succeed()

    def _refusal(self, error: Exception) -> CacheError:
        """Our word for theirs, counted."""
        if isinstance(error, CacheError):
            return error
        code, words, is_away = understood(error)
        if code != "NOSCRIPT":  # it only has to be told again
            self.failures[code] += 1
        if not is_away:
            self._heard()
            return Refused(code, f"redis refused: {words}")
        if not self._breaker.is_open:
            log.warning("redis is away: %s", words)
        self._trouble = words
        self._breaker.fail()
        if code in ("READONLY", "MOVED"):  # the name may lead to another server by now, or to one of another kind
            self._is_stale = True
        return Away(f"redis is away: {words}")

    # -- connections -----------------------------------------------------------------------------------------------

    async def _connected(self, *, is_patient: bool) -> Client:
        found = self._patient if is_patient else self._client
        if found is not None and not self._is_stale:
            return found
        async with self._connecting:
            if self._is_stale:
                await self.close()
                self._is_stale, self._is_cluster = False, None
            if self._is_cluster is None:
                self._is_cluster = await self._is_cluster_there()
            if is_patient and self._patient is None:
                self._patient = self._made(None, MOST_WAITING)
            elif not is_patient and self._client is None:
                self._client = self._made(self._timeout_s, MOST_AT_ONCE)
            return cast("Client", self._patient if is_patient else self._client)

    async def _is_cluster_there(self) -> bool:
        """Ask the server; one that will not tell is taken for a single one."""
        client = redis.asyncio.Redis.from_url(self._url, **self._options(self._timeout_s, 1))
        try:
            found: dict[str, Any] = await client.info("cluster")
            return bool(found.get("cluster_enabled"))
        except exceptions.NoPermissionError:
            return False
        finally:
            await client.aclose()

    def _made(self, timeout_s: float | None, most: int) -> Client:
        options = self._options(timeout_s, most)
        if self._is_cluster:
            again = Retry(NoBackoff(), 1)  # with the slots read anew
            return redis.asyncio.RedisCluster.from_url(self._url, **{**options, "retry": again})
        return redis.asyncio.Redis.from_url(self._url, **options)

    def _options(self, timeout_s: float | None, most: int) -> dict[str, Any]:
        return {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": self._timeout_s,
            "retry": Retry(NoBackoff(), 0),
            "max_connections": most,
            "protocol": 3,
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }


def _keys(key: Keys) -> Sequence[bytes]:
    return (key,) if isinstance(key, bytes) else key


async def _execute(client: Client, command: Sequence[Value]) -> Any:
    return await client.execute_command(*command)


async def _pipelined(client: Client, commands: Sequence[Sequence[Value]]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    replies: list[Any] = await pipeline.execute(raise_on_error=False)
    return replies


def understood(error: Exception) -> tuple[str, str, bool]:
    """What an error of the library is: a code, words for the operator, and whether the server cannot be had."""
    text = str(error) or type(error).__name__
    match error:
        case exceptions.AuthenticationError() | exceptions.AuthorizationError():
            return "NOAUTH", f"it wants another user or password than the URL has ({text})", True
        case exceptions.BusyLoadingError():
            return "LOADING", "it is loading its data", True
        case exceptions.MaxConnectionsError():
            return "CONNECTIONS", "too many commands wait at once", False
        case exceptions.ReadOnlyError():
            return "READONLY", "it is a replica and takes no writes: name the primary in the URL", True
        case exceptions.MovedError() | exceptions.AskError():
            return "MOVED", "it is part of a cluster that is being changed", True
        case exceptions.ClusterError() | exceptions.RedisClusterException() | exceptions.TryAgainError():
            return "CLUSTERDOWN", f"the cluster is not whole ({text})", True
        case exceptions.OutOfMemoryError():
            return "OOM", "its maxmemory is reached: raise it, or lower shared.answers_mb", False
        case exceptions.NoPermissionError():
            return "NOPERM", f"its user may not do that ({text})", False
        case exceptions.NoScriptError():
            return "NOSCRIPT", text, False
        case exceptions.ResponseError():
            code = text.split(" ", 1)[0]
            return (code if code.isupper() else "ERR"), text, False
        case exceptions.DataError():
            return "ERR", text, False
        case exceptions.TimeoutError() | TimeoutError():
            return "away", "it does not answer in time", True
        case exceptions.RedisError() | OSError():
            return "away", text, True
    log.error("the redis client failed: %r", error, exc_info=error)
    return "away", f"{type(error).__name__}: {text}", True


def pairs(reply: Any) -> list[tuple[bytes, bytes]]:
    """Names and values of a hash, as a script tells them or a command."""
    if isinstance(reply, dict):
        return list(reply.items())
    return list(zip(reply[::2], reply[1::2], strict=True)) if reply else []


def _without_cluster(url: str) -> tuple[str, bool | None]:
    """The URL without our own parameter `cluster`, and what that said."""
    parts = urlsplit(url)
    asked = dict(parse_qsl(parts.query))
    said = asked.pop("cluster", None)
    is_cluster = None if said is None else said.lower() in ("1", "true", "yes")
    return urlunsplit(parts._replace(query=urlencode(asked))), is_cluster
