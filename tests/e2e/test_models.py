"""Several models side by side, loaded and unloaded while the gateway runs, by the admin API."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from gateway.cli import main
from tests.backends.local.tiny import build
from tests.e2e.server import Gateway, running_gateway
from tests.loopback import LOOPBACK
from twicetold import Twicetold

PAGE = Path(__file__).parents[2] / "docs/models.md"
LONG = "Blocks of thirty-two tokens are kept by the hash of everything before them. " * 4
COLD: dict[str, Any] = {"cache": {"tiers": []}}
KV: dict[str, Any] = {"cache": {"tiers": ["kv"]}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two", "three")):
        build("llama", folder / name, seed=seed, max_position_embeddings=2048)
    return folder


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[Gateway]:
    models = ["--model", str(folder / "one"), "--model", str(folder / "two")]
    with running_gateway(folder / "data", *models, cache__semantic="false", engine__kv_mb="16") as running:
        running.wait("local", "local:two")
        yield running


def ask(gateway: Gateway, model: str, text: str = "Who are you?", **more: Any) -> httpx.Response:
    messages = [{"role": "user", "content": text}]
    return gateway.post({"model": model, "messages": messages, "max_tokens": 12, "temperature": 0, **more})


def admin(gateway: Gateway, verb: str, path: str, **more: Any) -> httpx.Response:
    return httpx.request(verb, f"{gateway.url}/admin/api{path}", timeout=60, **LOOPBACK, **more)


def said(response: httpx.Response) -> str:
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


def load(gateway: Gateway, source: Path, name: str, **settings: Any) -> None:
    response = admin(gateway, "POST", "/models", json={"source": str(source), "name": name, "settings": settings})
    assert response.status_code == 202, response.text


def wait_for_state(gateway: Gateway, name: str, wanted: str | None, within_s: float = 60) -> dict[str, Any]:
    """The report of a model once it is as `wanted`; None: once it is gone."""
    deadline = time.monotonic() + within_s
    while True:
        response = admin(gateway, "GET", f"/models/{name}")
        state = response.json().get("state")
        if state == wanted:
            report: dict[str, Any] = response.json()
            return report
        assert time.monotonic() < deadline, f"{name} is {response.json()}"
        time.sleep(0.02)


def children(gateway: Gateway) -> set[int]:
    return {child.pid for child in psutil.Process(gateway.process.pid).children(recursive=True)}


def test_two_models_answer_side_by_side_from_processes_of_their_own(gateway: Gateway) -> None:
    listed = {model.id for model in gateway.openai().models.list().data}
    answers = {model: said(ask(gateway, model)) for model in ("one", "two")}
    reports = {report["name"]: report for report in admin(gateway, "GET", "/models").json()["data"]}

    assert {"one", "two"} <= listed
    assert answers["one"] != answers["two"]
    assert {reports[name]["state"] for name in ("one", "two")} == {"ready"}
    assert reports["one"]["pid"] != reports["two"]["pid"]
    assert reports["one"]["settings"]["kv_mb"] == 16


def test_the_figures_of_several_engines_are_added_up_and_told_apart(gateway: Gateway) -> None:
    for model in ("one", "two"):
        ask(gateway, model, LONG, **KV)
    stats = gateway.stats()
    metrics = gateway.get("/metrics").text

    decoded = [stats["engines"][name]["decode_tokens"] for name in ("one", "two")]
    assert min(decoded) > 0
    assert stats["engine"]["decode_tokens"] >= sum(decoded)
    for line in ('twicetold_backend_up{backend="local"} 1.0', 'twicetold_backend_up{backend="local:two"} 1.0'):
        assert line in metrics
    assert "twicetold_engine_restarts_total" in metrics


def test_a_name_whose_load_failed_is_free_again_and_its_model_is_asked_and_unloaded_behind_the_last_answer(
    gateway: Gateway, folder: Path
) -> None:
    before = children(gateway)
    load(gateway, folder, "later")
    failed = wait_for_state(gateway, "later", "failed")
    load(gateway, folder / "three", "later", kv_mb=4, threads=1)
    report = wait_for_state(gateway, "later", "ready")
    client = gateway.openai()
    messages: list[Any] = [{"role": "user", "content": "Who are you?"}]
    answer = client.chat.completions.create(model="later", messages=messages, max_tokens=8, temperature=0)
    body: dict[str, Any] = {"max_tokens": 1500, "temperature": 0, "extra_body": {"ignore_eos": True, **COLD}}
    stream = client.chat.completions.create(model="later", messages=messages, stream=True, **body)
    first = next(iter(stream))
    removed = admin(gateway, "DELETE", "/models/later")
    meanwhile = ask(gateway, "later")
    taken = admin(gateway, "POST", "/models", json={"source": str(folder / "three"), "name": "later"})
    last = list(stream)[-1]
    wait_for_state(gateway, "later", None)
    gone = ask(gateway, "later")

    assert "no config.json" in failed["detail"]
    assert (report["settings"]["kv_mb"], report["settings"]["threads"]) == (4, 1)
    assert answer.choices[0].finish_reason
    assert (removed.status_code, removed.json()["state"]) == (202, "unloading")
    assert first.choices
    assert last.choices[0].finish_reason == "length"
    assert meanwhile.json()["error"]["code"] == "model_not_found"
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "model_exists")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "model_not_found")
    assert children(gateway) == before


def test_a_name_that_is_taken_is_refused(gateway: Gateway, folder: Path) -> None:
    response = admin(gateway, "POST", "/models", json={"source": str(folder / "three"), "name": "one"})

    assert (response.status_code, response.json()["error"]["code"]) == (409, "model_exists")


@pytest.mark.parametrize(
    ("verb", "path"), [("GET", "/models/none"), ("DELETE", "/models/none"), ("DELETE", "/kv?model=none")]
)
def test_a_model_that_is_not_there_is_not_found(gateway: Gateway, verb: str, path: str) -> None:
    response = admin(gateway, verb, path)

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (404, "model_not_found")
    assert error["param"] == ("model" if "?model=" in path else "name")


@pytest.mark.parametrize("path", ["/models/one%0A", "/stats%0A"])
def test_a_name_with_a_line_break_behind_it_is_not_that_name(gateway: Gateway, path: str) -> None:
    response = admin(gateway, "GET", path)

    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


BAD: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "no source": ("/models", {}, "source"),
    "empty source": ("/models", {"source": ""}, "source"),
    "number for a name": ("/models", {"source": "demo", "name": 5}, "name"),
    "unknown field": ("/models", {"source": "demo", "sauce": 1}, "sauce"),
    "unknown setting": ("/models", {"source": "demo", "settings": {"kv_gb": 1}}, "settings.kv_gb"),
    "setting out of range": ("/models", {"source": "demo", "settings": {"kv_mb": -1}}, "settings.kv_mb"),
    "setting of another kind": ("/models", {"source": "demo", "settings": {"threads": "two"}}, "settings.threads"),
    "unknown dtype": ("/models", {"source": "demo", "settings": {"dtype": "fp4"}}, "settings.dtype"),
    "file for a prompt": ("/models", {"source": "demo", "settings": {"warm_prompts": ["@x"]}}, "settings.warm_prompts"),
    "control characters in a name": ("/models", {"source": "demo", "name": "a\x00b"}, "name"),
    "source among the settings": ("/models", {"source": "demo", "settings": {"source": "x"}}, "settings.source"),
    "no messages": ("/kv/warm", {"model": "one"}, "messages"),
    "empty messages": ("/kv/warm", {"model": "one", "messages": []}, "messages"),
    "unknown role": ("/kv/warm", {"model": "one", "messages": [{"role": "boss", "content": ""}]}, "messages[0].role"),
    "too long a prompt": (
        "/kv/warm",
        {"model": "one", "messages": [{"role": "system", "content": "a cache " * 9000}]},
        "messages",
    ),
    "pin of another kind": (
        "/kv/warm",
        {"model": "one", "messages": [{"role": "system", "content": "x"}], "pin": "yes"},
        "pin",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_admin_input_is_refused_and_its_field_is_named(gateway: Gateway, name: str) -> None:
    path, body, param = BAD[name]
    response = admin(gateway, "POST", path, json=body)

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff"])
def test_what_is_no_json_object_is_refused(gateway: Gateway, raw: bytes) -> None:
    response = admin(gateway, "POST", "/models", content=raw, headers={"content-type": "application/json"})

    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_of_another_site_can_send_is_refused(gateway: Gateway, kind: str) -> None:
    response = admin(gateway, "POST", "/models", content=b'{"source": "demo"}', headers={"content-type": kind})

    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_a_page_that_calls_this_machine_by_its_own_name_is_refused(gateway: Gateway) -> None:
    response = admin(gateway, "GET", "/models", headers={"host": "evil.example"})

    assert (response.status_code, response.json()["error"]["code"]) == (403, "admin_refused")


def test_a_warmed_prefix_is_there_for_the_first_request_of_those_it_was_warmed_for(gateway: Gateway) -> None:
    system = {"role": "system", "content": "You answer in one word, and you never explain. " * 6}
    with Twicetold(gateway.url, api_key="sk-test", model="one") as client:
        warmed = client.warm_prefix([system])
    request: dict[str, Any] = {"model": "one", "max_tokens": 4, "temperature": 0}
    messages: Any = [system, {"role": "user", "content": "Why?"}]
    mine = gateway.openai("sk-test").chat.completions.create(messages=messages, extra_body=KV, **request)
    other = gateway.openai("sk-else").chat.completions.create(messages=messages, extra_body=KV, **request)

    assert warmed["tokens"] > 32
    cached = []
    for answer in (mine, other):
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        cached.append(answer.usage.prompt_tokens_details.cached_tokens)
    assert cached[0] is not None
    assert cached[0] > 32
    assert cached[1] == 0


def test_the_command_line_warms_the_system_prompts_of_files_and_of_lines(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K", "sk-warm")
    prompts = [f"You are the help desk number {number}, and you are patient. " * 6 for number in range(2)]
    (tmp_path / "prompt.txt").write_text(prompts[0])
    (tmp_path / "lines.jsonl").write_text(json.dumps({"system": prompts[1]}) + "\n")
    files = (str(tmp_path / "lines.jsonl"), "--prefix", str(tmp_path / "prompt.txt"))
    status = main(["warm", *files, "--model", "one", "--url", gateway.url, "--key-env", "K"])
    cached = []
    for prompt in prompts:
        messages = [{"role": "system", "content": prompt}, {"role": "user", "content": "Why?"}]
        body = {"model": "one", "messages": messages, "max_tokens": 4, **KV}
        usage = gateway.post(body, authorization="Bearer sk-warm").json()["usage"]
        cached.append(usage["prompt_tokens_details"]["cached_tokens"])

    assert status == 0
    assert min(cached) > 32


def test_kept_prefixes_are_told_by_model_and_cleared(gateway: Gateway) -> None:
    text = LONG + "to be forgotten"
    ask(gateway, "two", text, **KV)
    kept = admin(gateway, "GET", "/kv").json()["models"]["two"]
    cleared = admin(gateway, "DELETE", "/kv", params={"model": "two"}).json()["cleared"]
    again = ask(gateway, "two", text, **KV)

    assert kept["tiers"]["ram"]["blocks_cached"] > 0
    assert kept["settings"]["kv_mb"] == 16
    assert cleared == ["two"]
    assert again.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_the_commands_of_the_page_on_models_load_warm_and_unload_a_model(gateway: Gateway) -> None:
    (commands,) = re.findall(r"```sh\n(A=.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    script = commands.replace("http://127.0.0.1:8420", gateway.url)
    ran = subprocess.run(["bash", "-e", "-c", script], capture_output=True, text=True, timeout=120)
    wait_for_state(gateway, "second", None)

    assert ran.returncode == 0, ran.stderr
    assert '"cleared":["second"]' in ran.stdout


def test_loading_unloading_asking_and_killing_in_any_order_leaves_no_process(gateway: Gateway, folder: Path) -> None:
    before = children(gateway)
    names = ("a", "b")
    dice = random.Random(7)
    for _ in range(24):
        name = dice.choice(names)
        match dice.choice(("load", "load", "unload", "ask", "kill", "wait")):
            case "load":
                admin(gateway, "POST", "/models", json={"source": str(folder / "three"), "name": name})
            case "unload":
                admin(gateway, "DELETE", f"/models/{name}")
            case "ask":
                assert ask(gateway, name).status_code in (200, 404, 502, 503)
            case "kill":
                pid = admin(gateway, "GET", f"/models/{name}").json().get("pid")
                if pid in children(gateway) - before:
                    psutil.Process(pid).send_signal(signal.SIGKILL)
            case "wait":
                time.sleep(dice.random())
    for name in names:
        admin(gateway, "DELETE", f"/models/{name}")
        wait_for_state(gateway, name, None)

    assert children(gateway) == before
    assert ask(gateway, "one", "Still there?").status_code == 200


def test_an_admin_key_is_asked_for_when_there_is_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN", "s3cret")
    flags = ["--model", str(folder / "one"), "--admin-key-env", "ADMIN", "--host", "0.0.0.0", "--allow-no-keys"]  # noqa: S104
    with running_gateway(folder / "keyed", *flags, cache__semantic="false") as running:
        url = running.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        statuses = [
            httpx.get(f"{url}/admin/api/{path}", headers=headers, **LOOPBACK).status_code
            for path in ("models", "stats", "kv")
            for headers in ({}, {"authorization": "Bearer guess"}, {"authorization": "Bearer s3cret"})
        ]
        show = [sys.executable, "-m", "gateway", "stats", "--once", "--url", url]
        shown, refused = (
            subprocess.run([*show, *key], capture_output=True, text=True, timeout=60)
            for key in (["--admin-key-env", "ADMIN"], [])
        )

    assert statuses == [401, 401, 200] * 3
    assert (shown.returncode, refused.returncode) == (0, 1)
    assert "engine   one: 0 running" in shown.stdout
    assert "needs the admin key" in refused.stderr


def test_a_server_for_everybody_has_no_admin_api_without_a_key(folder: Path) -> None:
    flags = ["--upstream", "http://127.0.0.1:1", "--host", "0.0.0.0", "--allow-no-keys"]  # noqa: S104
    with running_gateway(folder / "open", *flags, cache__semantic="false") as running:
        url = running.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        refused = httpx.get(f"{url}/admin/api/models", **LOOPBACK)

    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "admin_refused")
