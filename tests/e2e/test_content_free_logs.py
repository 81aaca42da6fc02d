"""No word of a prompt, an answer, a comment or a credential is in a log, a metric or another caller's error."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_erasing import ME, YOU, Gateway, gateway_in, upstream_flags
from tests.upstream import RunningUpstream
from tests.upstream.modes import MODES

WORD = "Quetzalfeather"
TROUBLE = (
    "error:500",
    "error:429",
    "error:400",
    "truncated",
    "cut",
    "html",
    "error-mid",
    "hang:mid",
    "echo",
    "no-stream",
)


async def in_trouble(gateway: Gateway, upstream: RunningUpstream, mode: str) -> None:
    assert mode.partition(":")[0] in MODES
    upstream.control(mode=mode)
    for stream in (False, True):
        body = {"model": "m", "messages": [{"role": "user", "content": f"{WORD} {mode} {stream}"}], "stream": stream}
        body |= {WORD: True} if WORD in mode else {}  # what it refuses it names
        await gateway.client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {ME}"})
    upstream.control(mode="normal")


async def test_a_marked_prompt_is_in_no_log_and_in_nobody_elses_answer(
    tmp_path: Path, upstream: RunningUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for library in ("httpx", "httpcore"):  # of this test's own client
        logging.getLogger(library).setLevel(logging.WARNING)
    access = tmp_path / "access.log"
    flags: dict[str, Any] = {
        "access_log": {"path": str(access)},
        "timeouts": {"first_token_s": 0.5, "idle_s": 0.5, "total_s": 1.5},
        "log_level": "debug",
    }
    async with gateway_in(tmp_path / "data", **upstream_flags(upstream, **flags)) as gateway:
        said = await gateway.chat(f"What eats a {WORD}?", cache={"tags": [WORD], "namespace": WORD})
        await gateway.chat(f"What eats a {WORD}?", cache={"tags": [WORD], "namespace": WORD})
        await gateway.post("/v1/cache/feedback", ME, {"id": said.json()["id"], "verdict": "bad", "comment": WORD})
        for mode in TROUBLE:
            await in_trouble(gateway, upstream, mode)
        bad: list[Any] = [
            {"model": "m", "messages": WORD},
            {"model": "m", "messages": [{"role": WORD, "content": WORD}]},
            {"model": "m", "messages": [{"role": "user", "content": WORD}], "temperature": WORD},
            {"model": "m", "messages": [{"role": "user", "content": WORD}], "cache": {"ttl": WORD}},
        ]
        for body in bad:
            await gateway.client.post("/v1/chat/completions", json=body)
            await gateway.client.post("/v1/messages", json=body)
            await gateway.client.put("/v1/cache/entries", json={"request": body, "response": {"choices": WORD}})
        await gateway.client.post("/v1/chat/completions", content=b'{"messages": "' + WORD.encode())
        await gateway.client.post("/v1/chat/completions", json=bad[0], headers={"authorization": f"Bearer {WORD}"})
        await gateway.admin("invalidate", {"tag": WORD, "dry_run": False})
        await gateway.admin("erase", {"tenant": gateway.tenant(ME), "dry_run": False})
        metrics = (await gateway.client.get("/metrics")).text
        others = await gateway.client.post(
            "/v1/chat/completions", json={"model": "m", "messages": []}, headers={"authorization": f"Bearer {YOU}"}
        )

    assert access.read_text().count("\n") > 20
    for name, text in {
        "log": caplog.text,
        "access log": access.read_text(),
        "metrics": metrics,
        "error of another": others.text,
    }.items():
        lines = [line for line in text.splitlines() if WORD in line or ME in line]
        assert lines == [], name


async def test_a_line_break_in_a_name_makes_no_line_of_a_log(
    tmp_path: Path, upstream: RunningUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    access = tmp_path / "access.log"
    forged = 'x\n{"status": 200, "forged": true}\r\nERROR gateway: forged'
    flags = {"access_log": {"path": str(access)}}
    async with gateway_in(tmp_path / "data", **upstream_flags(upstream, **flags)) as gateway:
        for body in (
            {"model": forged, "messages": [{"role": "user", "content": "a"}]},
            {"model": "m", "messages": [{"role": "user", "content": "a"}], "cache": {"namespace": forged}},
            {"model": "m", "messages": [{"role": "user", "content": "b"}], "cache": {"tags": [forged]}},
            {"model": "m", "messages": [{"role": "user", "content": "c"}], "user": forged, "cache_salt": forged},
        ):
            await gateway.client.post("/v1/chat/completions", json=body)
        await gateway.client.post("/v1/cache/feedback", json={"id": forged, "verdict": "bad"})
        await gateway.client.get("/admin/api/entries/x%0AERROR gateway: forged")
        await gateway.client.post("/admin/api/erase", json={"tenant": forged, "dry_run": False})

    for line in access.read_text().splitlines():
        assert "forged" not in json.loads(line)
    logged = [record for record in caplog.records if record.name.split(".")[0] in ("gateway", "backends")]
    assert [one.getMessage() for one in logged if "\n" in one.getMessage() or "\r" in one.getMessage()] == []
