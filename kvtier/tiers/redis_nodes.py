"""The Redis at an address: one server, or the nodes of a cluster, which its answers tell.

A pipeline of redis-py over a cluster asks again, one command at a time, whatever a node did not answer: against a node
that hangs, a hundred names would take a hundred timeouts. Here every node has a plain pipeline of its own, and the
first that fails ends the call.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.cluster import RedisCluster
from redis.exceptions import ClusterDownError, MovedError, RedisClusterException
from redis.retry import Retry

Command = Callable[[Pipeline, bytes], Any]
AWAY = (redis.ConnectionError, redis.TimeoutError, ClusterDownError, RedisClusterException)


class Nodes:
    """Connections to whatever holds our names, for any thread. Nothing is asked before the first use.

    RESP2: our answers are bytes and whole numbers, of which RESP3 makes nothing better.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = _without_cluster(url)
        self._timeout_s = timeout_s
        self._server = redis.Redis.from_url(self._url, retry=_never(), protocol=2, **self._timeouts())
        self._lock = threading.Lock()
        self._cluster: RedisCluster | None = None
        self._is_outdated = False  # nodes may have come, gone, or changed their parts

    def each(self, names: Sequence[bytes], command: Command) -> list[Any]:
        """The answers to `command` for each of `names`: one round trip to every node that has some of them."""
        try:
            return self._each(names, command)
        except MovedError:  # it is a cluster, or its parts have moved
            self._look_around()
            return self._each(names, command)

    def every(self) -> list[redis.Redis]:
        """Every server that has names of ours."""
        with self._minding():
            if self._cluster is None and not self._server.info("cluster").get("cluster_enabled"):
                return [self._server]
            self._look_around()
            assert self._cluster is not None
            primaries = self._cluster.get_primaries()  # type: ignore[no-untyped-call]
            return [self._cluster.get_redis_connection(node) for node in primaries]

    def close(self) -> None:
        """Close every connection."""
        self._server.close()
        if self._cluster is not None:
            self._cluster.close()

    def _each(self, names: Sequence[bytes], command: Command) -> list[Any]:
        answers: dict[bytes, Any] = {}
        with self._minding():
            for server, own in self._parted(names):
                pipeline = server.pipeline(transaction=False)
                for name in own:
                    command(pipeline, name)
                answers.update(zip(own, pipeline.execute(), strict=True))
        return [answers[name] for name in names]

    def _parted(self, names: Sequence[bytes]) -> list[tuple[redis.Redis, list[bytes]]]:
        """Who has which of `names`."""
        if self._is_outdated:
            self._look_around()
        if self._cluster is None:
            return [(self._server, list(names))]
        parts: dict[str, tuple[redis.Redis, list[bytes]]] = {}
        for name in names:
            node = self._cluster.get_node_from_key(name)  # type: ignore[no-untyped-call]
            if node.name not in parts:
                parts[node.name] = self._cluster.get_redis_connection(node), []
            parts[node.name][1].append(name)
        return list(parts.values())

    def _look_around(self) -> None:
        """Ask who the nodes are and what each has."""
        with self._lock:
            if self._cluster is None:
                self._cluster = RedisCluster.from_url(
                    self._url, retry=_never(), protocol=2, require_full_coverage=False, **self._timeouts()
                )
            else:
                self._cluster.nodes_manager.initialize()
            self._is_outdated = False

    @contextmanager
    def _minding(self) -> Iterator[None]:
        """After a failure in a cluster, the next use looks around first: another node may have taken over."""
        try:
            yield
        except AWAY:
            self._is_outdated = self._cluster is not None
            raise

    def _timeouts(self) -> dict[str, float]:
        return {"socket_timeout": self._timeout_s, "socket_connect_timeout": self._timeout_s}


def _never() -> Retry:
    return Retry(NoBackoff(), 0)


def _without_cluster(url: str) -> str:
    """The address without what the answers of the gateway are told there: here the first answer says it."""
    address, mark, query = url.partition("?")
    kept = "&".join(part for part in query.split("&") if not part.startswith("cluster="))
    return address + (mark + kept if kept else "")
