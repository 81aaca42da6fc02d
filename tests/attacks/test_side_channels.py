"""What one tenant can read changes by nothing that another does: no header, count, id, error or limit tells."""

import re
from pathlib import Path

from backends.fake import ScriptedBackend, say
from bench.inprocess import Answer, ask
from bench.isolation.town import House, house
from embeddings.control import Label
from gateway.policy import Rules
from gateway.semantic.labels import Given
from gateway.semantic.rule import LaneRule
from tests.attacks.test_forgery import bearer, tenant
from tests.gateway.house import house as bare_house

CHAT = "/v1/chat/completions"
QUESTION = {"model": "m1", "messages": [{"role": "user", "content": "Is the merger on?"}]}
MINE = {"model": "m1", "messages": [{"role": "user", "content": "My own question"}]}
# What differs from one answer to the next whoever asks: times, and names drawn for each.
DRAWN = re.compile(
    r"(chatcmpl-|lookup-|resp_|msg_|req_)[0-9a-f]+|\"(created|created_at|age_s)\":[\d.e-]+|20\d\d-[\d:TZ.+-]+"
)
TIMES = {"x-twicetold-overhead-ms", "x-request-id", "age", "date", "content-length"}


def shown(answer: Answer) -> tuple[int, dict[str, str], str]:
    """An answer without what is drawn or measured."""
    headers = {name: text for name, text in answer.headers.items() if name not in TIMES and "-reset-" not in name}
    return answer.status, headers, DRAWN.sub("*", answer.body.decode())


async def everything(home: House, key: str, entry: str, response: str) -> list[tuple[int, dict[str, str], str]]:
    """All that somebody with this key can read, with the names of another's entry and response where one may be said.

    Whatever is asked leaves nothing behind, so that it says the same a second time.
    """
    app, me = home.apps[0], bearer(key)
    nothing = {"cache": {"no-store": True}}
    lookups = [{"request": one} for one in (MINE, QUESTION, {**QUESTION, "cache_salt": "s"})]
    follow = {"model": "m1", "input": "go on", "previous_response_id": response}
    verdicts = [{"entry": entry, "verdict": "bad"}, {"id": response, "verdict": "good"}]
    found = [await ask(app, "GET", path, b"", [me]) for path in ("/v1/models", "/healthz", "/readyz", "/openapi.json")]
    found += [await ask(app, "POST", "/v1/cache/lookup", body, [me]) for body in lookups]
    found += [await ask(app, "POST", "/v1/cache/feedback", body, [me]) for body in verdicts]
    found.append(await ask(app, "POST", "/v1/responses", follow, [me]))
    found.append(await ask(app, "POST", CHAT, QUESTION, [me, (b"cache-control", b"only-if-cached")]))
    found.append(await ask(app, "POST", CHAT, {**QUESTION, "model": "nobody's"}, [me]))
    found.append(await ask(app, "POST", CHAT, {**MINE, **nothing}, [me]))
    found.append(await ask(app, "POST", CHAT, {**QUESTION, **nothing}, [me]))
    return [shown(one) for one in found]


async def test_what_one_can_read_is_the_same_before_and_after_another_asked(tmp_path: Path) -> None:
    async with house("exact", tmp_path) as home:
        app = home.apps[0]
        (theirs, victim), (ours, attacker) = await tenant(home, "victim"), await tenant(home, "attacker")
        for name, many in ((victim, 1000), (attacker, 1_000_000)):
            policy = {"limits": {"requests_per_minute": many, "tokens_per_minute": 10_000_000}}
            said = await ask(app, "PUT", f"/admin/api/tenants/{name}", policy)
            assert said.status == 200, said
        await ask(app, "POST", CHAT, MINE, [bearer(ours)])
        before = await everything(home, ours, "e_" + "0" * 24, "resp_" + "0" * 32)
        first = await ask(app, "POST", CHAT, QUESTION, [bearer(theirs)])
        answer = await ask(app, "POST", "/v1/responses", {"model": "m1", "input": "Is it?"}, [bearer(theirs)])
        for n in range(20):
            await ask(app, "POST", CHAT, {**QUESTION, "cache_salt": str(n)}, [bearer(theirs)])
        entry, response = first.headers["x-twicetold-entry"], answer.json()["id"]
        after = await everything(home, ours, entry, response)

        statuses = [status for status, *_ in after]
        assert statuses == [200] * 7 + [404] * 2 + [400, 504, 502, 200, 200]  # each is asked what it was meant to be
        for one, other in zip(before, after, strict=True):
            assert _unnamed(one, entry, response) == _unnamed(other, entry, response)
        again = await ask(app, "POST", CHAT, QUESTION, [bearer(theirs)])
        assert again.headers["x-twicetold-tier"] == "exact"  # nobody's verdict ended it


def _unnamed(one: tuple[int, dict[str, str], str], entry: str, response: str) -> tuple[int, dict[str, str], str]:
    """Without the names that the attacker said itself, and its own remaining limit."""
    status, headers, body = one
    for name in (entry, response, "e_" + "0" * 24):
        body = body.replace(name, "NAME")
    return status, {name: text for name, text in headers.items() if "-remaining-" not in name}, body


async def test_limits_tell_of_ones_own_requests_alone(tmp_path: Path) -> None:
    async with house("exact", tmp_path) as home:
        app = home.apps[0]
        (theirs, victim), (ours, attacker) = await tenant(home, "victim"), await tenant(home, "attacker")
        for name in (victim, attacker):
            await ask(app, "PUT", f"/admin/api/tenants/{name}", {"limits": {"requests_per_minute": 3}})
        for n in range(5):
            said = await ask(app, "POST", CHAT, {**QUESTION, "cache_salt": str(n)}, [bearer(theirs)])
        assert said.status == 429
        own = await ask(app, "POST", CHAT, MINE, [bearer(ours)])
        assert (own.status, own.headers["x-ratelimit-remaining-requests"]) == (200, "2")


async def test_verdicts_of_one_tenant_move_no_lane_of_another(tmp_path: Path) -> None:
    """Poisoning by feedback: whoever praises wrong hits is served more of them, and nobody else is."""
    praise = Label("q", "s", "e", True, "feedback", 0.9, (), was_eligible=True, was_hit=True)
    async with bare_house(tmp_path, ScriptedBackend(say("Yes."))) as home:
        liar, honest = (LaneRule.of(tenant, Rules()) for tenant in ("liar", "honest"))
        for _ in range(5):
            await home.semantic.lanes.learn(liar, [Given(liar.key, bytes(32), praise)])
        counts = [(await home.semantic.lanes.report(rule)).labels.total() for rule in (liar, honest)]

    assert counts == [5, 0]
