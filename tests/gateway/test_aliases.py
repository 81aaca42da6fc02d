"""Other gateways' headers about caching: each narrows what may happen, and none widens it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from gateway.aliases import controls_of
from gateway.callers.auth import read_credential
from gateway.controls import Controls
from gateway.errors import InvalidRequest

OFF = Controls(no_cache=True, no_store=True)
BY_SPELLING = Controls(tiers=frozenset({"exact", "kv"}))
HOUR = Controls(ttl_s=3600, max_age_s=3600)


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("x-portkey-cache-force-refresh", "true", Controls(no_cache=True)),
        ("x-portkey-cache-force-refresh", "false", Controls()),
        ("x-portkey-cache-namespace", "blue", Controls(namespace="blue")),
        ("x-portkey-cache", "simple", BY_SPELLING),
        ("x-portkey-cache", "semantic", Controls()),
        ("x-portkey-config", '{"cache": {"mode": "semantic", "max_age": 3600}}', HOUR),
        ("x-portkey-config", '{"cache": "simple"}', BY_SPELLING),
        ("x-portkey-config", '{"retry": {"attempts": 3}}', Controls()),
        ("x-portkey-config", "pc-my-config-a1b2", Controls()),
        ("helicone-cache-enabled", "true", Controls()),
        ("helicone-cache-enabled", "false", OFF),
        ("helicone-cache-seed", "user-7", Controls(namespace="user-7")),
        ("cache-control", "max-age=60", Controls(max_age_s=60)),
        ("x-bf-cache-key", "session", Controls(namespace="session")),
        ("x-bf-cache-ttl", "3600", HOUR),
        ("x-bf-cache-ttl", "1h0m", HOUR),
        ("x-bf-cache-threshold", "0.92", Controls(min_similarity=0.92)),
        ("x-bf-cache-type", "direct", BY_SPELLING),
        ("x-bf-cache-type", "semantic", Controls()),
        ("x-bf-cache-no-store", "true", Controls(no_store=True)),
        ("cf-aig-skip-cache", "true", OFF),
        ("cf-aig-cache-ttl", "3600", HOUR),
        ("cf-aig-cache-key", "k", Controls(namespace="k")),
        ("x-openrouter-cache", "true", Controls()),
        ("x-openrouter-cache", "false", OFF),
        ("op-cache", "readOnly", Controls(no_store=True)),
        ("op-cache", "writeOnly", Controls(no_cache=True)),
        ("op-cache", "readWrite", Controls()),
        ("op-cache", "false", OFF),
        ("x-vsr-cache-control", "no-store, max-age=60, ttl=30", Controls(no_store=True, max_age_s=60, ttl_s=30)),
        ("x-vsr-cache-control", "bypass", OFF),
    ],
)
def test_a_header_of_another_gateway_means_a_control_of_ours(name: str, value: str, meant: Controls) -> None:
    assert controls_of(Headers({name: value}), None) == meant


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-bf-cache-ttl", "soon"),
        ("x-bf-cache-ttl", "9" * 400),
        ("x-bf-cache-threshold", "nan"),
        ("x-bf-cache-threshold", "1.5"),
        ("x-bf-cache-key", "k" * 300),
        ("x-portkey-cache-force-refresh", "perhaps"),
        ("x-portkey-config", "{"),
        ("x-portkey-config", '{"cache": {"max_age": "long"}}'),
        ("x-portkey-config", '{"cache": {"mode": "zzz"}}'),
        ("x-portkey-config", '{"cache": 5}'),
        ("x-portkey-config", '{"cache": "zzz"}'),
        ("x-portkey-cache", "zzz"),
        ("x-bf-cache-type", "nope"),
        ("op-cache", "zz"),
        ("x-vsr-cache-control", "bogus"),
        ("x-vsr-cache-control", "no-store, max-age"),
    ],
)
def test_a_header_that_says_nothing_sensible_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        controls_of(Headers({name: value}), None)

    assert refusal.value.param == name


def test_the_narrower_of_header_and_body_holds() -> None:
    headers = Headers({"x-bf-cache-ttl": "60s", "x-bf-cache-threshold": "0.8"})

    controls = controls_of(headers, {"ttl": 10, "s-maxage": 600, "min_similarity": 0.95, "namespace": "mine"})

    assert controls == Controls(ttl_s=10, max_age_s=60, min_similarity=0.95, namespace="mine")


def test_every_wall_stands_and_one_alone_keeps_its_name() -> None:
    def name(body: dict[str, object], **headers: str) -> str:
        return controls_of(Headers({key.replace("_", "-"): value for key, value in headers.items()}), body).namespace

    q: dict[str, object] = {"namespace": "q"}
    assert (name(q), name({}, helicone_cache_seed="bob")) == ("q", "bob")
    walls = [
        name(q),
        name(q, helicone_cache_seed="alice"),
        name(q, helicone_cache_seed="bob"),
        name(q, helicone_cache_seed="bob", x_bf_cache_key="k"),
        name({}, helicone_cache_seed="qbob"),
        name({"namespace": "q" * 256}, helicone_cache_seed="alice"),
        name({"namespace": "q" * 256}, helicone_cache_seed="bob"),
    ]
    assert len(set(walls)) == len(walls)
    assert max(map(len, walls)) <= 256
    with pytest.raises(InvalidRequest):
        name({"namespace": walls[1]})


ANY = st.dictionaries(
    st.sampled_from(["x-portkey-cache", "x-bf-cache-type", "x-bf-cache-ttl", "x-bf-cache-threshold", "op-cache"]),
    st.sampled_from(["simple", "direct", "semantic", "1", "0", "0.5", "60", "readOnly", "true", "5m"]),
)
BODY = st.fixed_dictionaries(
    {}, optional={"no-cache": st.booleans(), "ttl": st.integers(0, 100), "tiers": st.just(["exact"])}
)


@settings(max_examples=60, deadline=None)
@given(ANY, BODY)
def test_no_header_widens_what_the_body_asked(headers: dict[str, str], body: dict[str, object]) -> None:
    alone = controls_of(Headers({}), body)
    try:
        both = controls_of(Headers(headers), body)
    except InvalidRequest:
        return

    assert both.tiers <= alone.tiers
    assert (both.no_cache, both.no_store) >= (alone.no_cache, alone.no_store)
    assert alone.ttl_s is None or (both.ttl_s is not None and both.ttl_s <= alone.ttl_s)


@pytest.mark.parametrize("name", ["x-api-key", "api-key", "x-bf-vk", "x-portkey-api-key", "helicone-auth"])
def test_a_key_that_another_gateway_gave_out_names_its_tenant(name: str) -> None:
    assert read_credential(Headers({name: "Bearer sk-1" if name == "helicone-auth" else "sk-1"})) == "sk-1"
    assert read_credential(Headers({name: "sk-1", "authorization": "Bearer sk-2"})) == "sk-2"
