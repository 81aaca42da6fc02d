"""No kept prefix crosses, and a crossing that tells nobody is seen by what the engine has not computed."""

import random
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.isolation.askers import Asker, Tenant
from bench.isolation.prefixes import LINE, PrefixPairs
from bench.isolation.scraped import scrape
from bench.isolation.town import LOCAL, give_keys, house
from bench.isolation.watch import Watch


async def test_no_kept_prefix_crosses_between_scopes_or_models(tmp_path: Path) -> None:
    async with house("kv", tmp_path) as home:
        keys = await give_keys(home)
        pairs = PrefixPairs(home, keys, random.Random(4), Watch())
        await pairs.run(8)
        await scrape(home, keys, pairs.watch)

    assert pairs.watch.leaks == []
    assert not pairs.watch.refused
    assert set(pairs.read) == set(LOCAL)
    assert pairs.watch.served("same")["resumed"] > 0  # what may be shared is, or this shows nothing


class Liar:
    """A gateway that says of no token that it was kept, and has lost its tongue where nothing may be."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def lied(message: Message) -> None:
            body = message.get("body", b"")
            await send({**message, "body": _unsaid(body)} if body else message)

        await self._app(scope, receive, lied)


def _unsaid(body: bytes) -> bytes:
    head, name, rest = body.partition(b'"cached_tokens":')
    return head + name + b"0" + rest.lstrip(b"0123456789") if name else body


async def test_a_crossing_is_seen_whether_the_answer_tells_it_or_not(tmp_path: Path) -> None:
    async with house("kv", tmp_path) as home:
        pairs = PrefixPairs(home, [], random.Random(1), Watch(), patience_s=0.5)
        one, stranger, third = (
            Asker(Tenant(name, ("sk-one",))) for name in ("a", "b", "c")
        )  # one tenant of three names
        asked = [Asker(each.tenant, model=LOCAL[0]) for each in (one, stranger, third)]
        await pairs.ask(asked[0], "chat", LINE * 4, "first", may_share=False)
        await pairs.ask(asked[1], "chat", LINE * 4, "tenant", may_share=False)
        told = list(pairs.watch.leaks)
        home.apps = [Liar(home.apps[0])]  # type: ignore[list-item]
        await pairs.ask(asked[2], "chat", LINE * 4, "tenant", may_share=False)
        untold = len(pairs.watch.leaks) == len(told)
        await pairs.add_up()

    assert any("of another's prefix" in leak for leak in told)
    assert untold
    assert "that no answer calls kept were not computed" in pairs.watch.leaks[-1]
