"""A gateway that is told of a Redis keeps its answers there and nowhere else."""

from pathlib import Path

from gateway.services import build
from gateway.settings import CacheSettings, Settings
from tests.contracts.answers_contract import digest, entry_of
from tests.kvtier.tiers.servers import RedisServer, needs_redis

pytestmark = needs_redis


async def test_answers_are_in_redis_and_no_file_is_opened(server: RedisServer, tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, upstream="http://127.0.0.1:9/v1", redis=server.url, cache=CacheSettings(semantic=False)
    )
    one, other = build(settings), build(settings)
    async with one.opened(), other.opened():
        await one.answers.put(entry_of())

        assert await other.answers.get(digest("s"), digest("a")) == entry_of()
        assert (await one.readiness()).parts["redis"] == "ready"
        stats = await one.stats()
        assert stats["entries"] == 1
        assert stats["redis"]["is_up"]
        names = {sample.name for sample in one.samples()}
        assert {"twicetold_shared_up", "twicetold_shared_queue", "twicetold_shared_losses"} <= names
    assert not (tmp_path / "answers.db").exists()
