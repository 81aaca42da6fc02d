"""[[backends]], [[aliases]], [routing]: what they become, and how a bad value is refused."""

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.services.routing import router_of
from gateway.settings import SettingsError, load_settings

TOML = """
    [timeouts]
    idle_s = 7
    [[backends]]
    name = "gpu-1"
    url = "http://10.0.0.1:8000"
    models = ["qwen"]
    api_key_env = "GPU_KEY"
    weight = 2
    max_concurrency = 4
    revision = "r1"
    headers = { x-team = "search" }
    timeouts = { first_token_s = 3 }
    [[backends]]
    name = "gpu-2"
    url = "http://10.0.0.2:8000/v1"
    models = ["qwen"]
    revision = "r1"
    [[aliases]]
    name = "smart"
    targets = [{ model = "qwen", weight = 3 }, { model = "llama" }]
    fallback = ["gpt-4o-mini"]
    [routing]
    policy = "least_load"
    breaker_failures = 2
    """


def server(**more: Any) -> dict[str, Any]:
    return {"name": "a", "url": "http://x", **more}


async def test_a_file_becomes_backends_aliases_and_a_policy(tmp_path: Path) -> None:
    config = tmp_path / "twicetold.toml"
    config.write_text(TOML)
    settings = load_settings({}, config, {"GPU_KEY": "sk-secret"})
    router = router_of(settings, [])
    first, second = router.members
    found = (await router.resolve("qwen")).step.members

    assert settings.local_models == ()
    assert "sk-secret" not in repr(settings)
    assert "search" not in repr(settings)
    assert settings.backends[0].api_key == "sk-secret"
    assert (first.name, first.weight, first.rule.gate.at_once, first.rule.breaker.failures) == ("gpu-1", 2, 4, 2)
    assert found == (first, second)
    assert first.model("qwen").revision == second.model("qwen").revision
    assert [alias["name"] for alias in router.report()["aliases"]] == ["smart"]
    await router.close()


async def test_an_upstream_alone_is_left_as_it_was_and_has_a_circuit_beside_others() -> None:
    alone = router_of(load_settings({"upstream": "http://x"}, None, {}), [])
    beside = router_of(
        load_settings({"upstream": "http://x", "aliases": [{"name": "m", "fallback": ["n"]}]}, None, {}), []
    )
    each = [router.members[0].rule for router in (alone, beside)]

    assert [rule.names for rule in each] == [("*",), ("*",)]
    assert [rule.breaker.failures for rule in each] == [0, 5]
    await alone.close()
    await beside.close()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"backends": "a"}, "backends must be a list of tables"),
    ({"backends": [{"url": "http://x"}]}, r"backends\[0\].name"),
    ({"backends": [server(name="a b")]}, r"backends\[0\].name"),
    ({"backends": [server(name="upstream")]}, r"backends\[0\].name"),
    ({"backends": [server(), server()]}, r"backends\[1\].name"),
    ({"backends": [server(url="x:1")]}, r"backends\[0\].url"),
    ({"backends": [server(url="http://x:0")]}, r"backends\[0\].url"),
    ({"backends": [server(flavour="vanilla")]}, r"backends\[0\].flavour"),
    ({"backends": [server(models=["a", " "])]}, r"backends\[0\].models"),
    ({"backends": [server(weight=0)]}, r"backends\[0\].weight"),
    ({"backends": [server(max_concurrency=-1)]}, r"backends\[0\].max_concurrency"),
    ({"backends": [server(queue_s=0)]}, r"backends\[0\].queue_s"),
    ({"backends": [server(timeouts={"idle_s": 0})]}, r"backends\[0\].timeouts.idle_s"),
    ({"backends": [server(timeouts={"idle": 1})]}, r"backends\[0\].timeouts.idle"),
    ({"backends": [server(headers={"x": "a\nb"})]}, r"backends\[0\].headers.x"),
    ({"backends": [server(url="http://u:SECRET@x")]}, r"backends\[0\].url"),
    ({"backends": [server(url="u:SECRET@x")]}, r"backends\[0\].url"),
    ({"backends": [server(url="http://x/v1?api-key=SECRET")]}, r"backends\[0\].url"),
    ({"backends": [server(url="http://x/?api-key=SECRET", flavour="azure")]}, r"backends\[0\].url"),
    ({"backends": [server(url="http://x\n/SECRET")]}, r"backends\[0\].url"),
    ({"upstream": "http://u:SECRET@x"}, "upstream"),
    ({"upstream": "http://x?key=SECRET"}, "upstream"),
    ({"backends": [server(headers={"Content-Length": "1"})]}, r"backends\[0\].headers.Content-Length"),
    ({"backends": [server(headers={"host": "x"})]}, r"backends\[0\].headers.host"),
    ({"backends": [server(headers={"x": "a\x7f"})]}, r"backends\[0\].headers.x"),
    ({"backends": [server(headers={"x": "a "})]}, r"backends\[0\].headers.x"),
    ({"backends": [server(max_concurrency="three")]}, r"backends\[0\].max_concurrency"),
    ({"backends": [server(models="a,,b")]}, r"backends\[0\].models"),
    ({"backends": [server(headers={"a b": "c"})]}, r"backends\[0\].headers.a b"),
    ({"backends": [server(headers=5)]}, r"backends\[0\].headers"),
    ({"backends": [server(api_key_env="UNSET_KEY")]}, r"backends\[0\].api_key_env"),
    ({"backends": [server(api_key="in the open")]}, r"backends\[0\].api_key is not a setting"),
    ({"aliases": [{"name": "", "fallback": ["a"]}]}, r"aliases\[0\].name"),
    ({"aliases": [{"name": "x", "fallback": ["a"]}, {"name": "x", "fallback": ["a"]}]}, r"aliases\[1\].name"),
    ({"aliases": [{"name": "x"}]}, r"aliases\[0\].targets"),
    ({"aliases": [{"name": "x", "targets": [{"weight": 1}]}]}, r"aliases\[0\].targets\[0\].model"),
    ({"aliases": [{"name": "x", "targets": [{"model": "a", "weight": 0}]}]}, r"aliases\[0\].targets"),
    ({"aliases": [{"name": "x", "targets": [{"model": "a", "weight": -1}]}]}, r"aliases\[0\].targets\[0\].weight"),
    ({"aliases": [{"name": "x", "fallback": ["y"]}, {"name": "y", "targets": [{"model": "z"}]}]}, r"fallback\[0\]"),
    ({"routing": {"policy": "best"}}, "routing.policy"),
    ({"routing": {"retries": 99}}, "routing.retries"),
    ({"routing": {"breaker_open_s": 9, "breaker_max_open_s": 3}}, "routing.breaker_max_open_s"),
    ({"routing": {"health_s": -1}}, "routing.health_s"),
    ({"routing": {"retry_share": 2}}, "routing.retry_share"),
]


@pytest.mark.parametrize(("flags", "named"), BAD)
def test_a_bad_value_is_refused_and_its_key_is_named(flags: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as refused:
        load_settings(flags, None, {})
    assert "SECRET" not in str(refused.value)


def test_numbers_and_lists_may_be_written_as_texts_everywhere_alike() -> None:
    (read,) = load_settings({"backends": [server(max_concurrency="3", models="a,b")]}, None, {}).backends

    assert (read.max_concurrency, read.models) == (3, ("a", "b"))


@pytest.mark.parametrize(
    ("url", "flavour"), [("http://x/openai/v1?api-version=1", "azure"), (" http://x/v1/ ", "openai")]
)
def test_an_address_with_its_version_is_taken(url: str, flavour: str) -> None:
    assert load_settings({"backends": [server(url=url, flavour=flavour)]}, None, {}).backends[0].url == url


def test_a_line_end_behind_a_key_is_none_of_it_and_one_within_is_refused() -> None:
    flags = {"backends": [server(api_key_env="K")]}

    assert load_settings(flags, None, {"K": "sk-1\n"}).backends[0].api_key == "sk-1"
    with pytest.raises(SettingsError, match=r"backends\[0\].api_key_env"):
        load_settings(flags, None, {"K": "sk-1\nx: y"})


@pytest.mark.parametrize("page", ["docs/configuration.md", "docs/routing.md"])
def test_what_the_pages_say_can_be_used(page: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / page).read_text("utf-8")
    (block,) = (block for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "[[aliases]]" in block)
    config = tmp_path / "twicetold.toml"
    config.write_text(block)
    settings = load_settings({}, config, {"GPU_KEY": "sk"})

    assert [one.name for one in settings.backends] == ["gpu-1", "gpu-2"]
    assert router_of(settings, []).report()["aliases"][0]["name"] == "smart"
