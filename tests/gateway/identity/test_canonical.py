"""What must, and what must not, change the identity of a request."""

from typing import Any

import orjson
import pytest

from backends.chat import ChatRequest
from gateway.errors import InvalidRequest
from gateway.identity.canonical import Fingerprints, fingerprints, fingerprints_of, question_of
from gateway.identity.scope import Scope, tenant_of
from gateway.wire import parse_chat

SECRET = b"s" * 32
SCOPE = Scope("tenant", "m").digest(SECRET)

BASE: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is a block?"},
    ],
}


def body(**changes: Any) -> dict[str, Any]:
    return {**BASE, **changes}


def request_of(wire: dict[str, Any]) -> ChatRequest:
    apart = {"model", "messages", "stream"}
    params = {key: value for key, value in wire.items() if key not in apart}
    return ChatRequest(wire["model"], tuple(wire["messages"]), params, bool(wire.get("stream")))


def prints(wire: dict[str, Any], scope: bytes = SCOPE, **defaults: Any) -> Fingerprints:
    return fingerprints(SECRET, scope, request_of(wire), defaults)


def said(text: Any, role: str = "user", **more: Any) -> dict[str, Any]:
    return body(messages=[BASE["messages"][0], {"role": role, "content": text, **more}])


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
OTHER_PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,BBBB"}}

SAME = {
    "stream": body(stream=True),
    "stream options": body(stream_options={"include_usage": True}),
    "user": body(user="alice"),
    "metadata": body(metadata={"trace": "1"}),
    "store": body(store=True),
    "service tier": body(service_tier="flex"),
    "priority": body(priority=-3),
    "timeout": body(timeout=2.5),
    "a prediction": body(prediction={"type": "content", "content": "A block is"}),
    "prompt cache key": body(prompt_cache_key="k"),
    "prompt cache retention": body(prompt_cache_retention="24h"),
    "safety identifier": body(safety_identifier="x"),
    "cache controls": body(cache={"ttl": 5}),
    "null fields": body(temperature=None, stop=None),
    "temperature spelled out": body(temperature=1),
    "temperature as a float": body(temperature=1.0),
    "n spelled out": body(n=1),
    "top_p spelled out": body(top_p=1.0),
    "no penalties": body(presence_penalty=0, frequency_penalty=0.0),
    "logprobs off": body(logprobs=False),
    "plain text format": body(response_format={"type": "text"}),
    "key order": {"messages": [{"content": m["content"], "role": m["role"]} for m in BASE["messages"]], "model": "m"},
}

DIFFERENT = {
    "case of a letter": said("what is a block?"),
    "a trailing space": said("What is a block? "),
    "another system prompt": body(messages=[{"role": "system", "content": "Be long."}, BASE["messages"][1]]),
    "no system prompt": body(messages=BASE["messages"][1:]),
    "a name": said("What is a block?", name="bob"),
    "another role": said("What is a block?", role="assistant"),
    "a picture": said([{"type": "text", "text": "What is a block?"}, PICTURE]),
    "history": body(
        messages=[*BASE["messages"], {"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}]
    ),
    "temperature": body(temperature=0.5),
    "top_p": body(top_p=0.9),
    "top_k": body(top_k=40),
    "min_p": body(min_p=0.1),
    "seed": body(seed=1),
    "stop": body(stop="\n"),
    "n": body(n=2),
    "max tokens": body(max_tokens=5),
    "max completion tokens": body(max_completion_tokens=5),
    "presence penalty": body(presence_penalty=0.1),
    "frequency penalty": body(frequency_penalty=0.1),
    "logit bias": body(logit_bias={"5": 1}),
    "logprobs": body(logprobs=True),
    "top logprobs": body(top_logprobs=3),
    "tools": body(tools=[{"type": "function", "function": {"name": "f"}}]),
    "tool choice": body(tool_choice="none"),
    "response format": body(response_format={"type": "json_object"}),
    "reasoning effort": body(reasoning_effort="high"),
    "modalities": body(modalities=["text", "audio"]),
    "an unknown field": body(brand_new_knob=True),
    "a null inside a schema": body(response_format={"type": "json_schema", "json_schema": {"const": None}}),
    "the same schema without it": body(response_format={"type": "json_schema", "json_schema": {}}),
}


@pytest.mark.parametrize("name", SAME)
def test_delivery_and_spelling_do_not_change_the_identity(name: str) -> None:
    assert prints(SAME[name]) == prints(BASE)


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_may_change_the_answer_changes_the_exact_key(name: str) -> None:
    assert prints(DIFFERENT[name]).exact != prints(BASE).exact


@pytest.mark.parametrize("name", [name for name in DIFFERENT if name not in ("case of a letter", "a trailing space")])
def test_everything_but_the_last_users_words_changes_the_compat_key(name: str) -> None:
    assert prints(DIFFERENT[name]).compat != prints(BASE).compat


@pytest.mark.parametrize(
    "text", ["What's a block?", "WHAT IS A BLOCK?", "", "{'text': 'of the last user message'}", "什么是块？"]
)
def test_other_words_of_the_last_user_share_the_compat_key(text: str) -> None:
    assert prints(said(text)).compat == prints(BASE).compat


def test_the_same_character_in_two_unicode_forms_is_the_same_text() -> None:
    assert prints(said("caf\u00e9")).exact == prints(said("cafe\u0301")).exact


def test_pictures_count_by_their_bytes_and_stay_in_the_compat_key() -> None:
    with_picture = [{"type": "text", "text": "What is it?"}, PICTURE]
    with_other = [{"type": "text", "text": "What is it?"}, OTHER_PICTURE]
    reworded = [{"type": "text", "text": "Say what it is."}, PICTURE]

    assert prints(said(with_picture)).exact != prints(said(with_other)).exact
    assert prints(said(with_picture)).compat != prints(said(with_other)).compat
    assert prints(said(with_picture)).compat == prints(said(reworded)).compat
    assert b"AAAA" not in prints(said(with_picture)).canonical


def test_no_address_spells_the_hash_of_a_picture() -> None:
    kept = prints(said([PICTURE])).canonical
    url = orjson.loads(kept)["messages"][-1]["content"][0]["image_url"]["url"]
    spelled = [{"type": "image_url", "image_url": {"url": url}}]
    assert prints(said(spelled)).exact != prints(said([PICTURE])).exact
    assert fingerprints_of(SECRET, SCOPE, orjson.loads(kept)).exact == prints(said([PICTURE])).exact


def test_a_backends_own_defaults_are_what_an_absent_field_means() -> None:
    assert prints(BASE, temperature=0).exact == prints(body(temperature=0), temperature=0).exact
    assert prints(BASE, temperature=0).exact != prints(body(temperature=1), temperature=0).exact


def test_a_null_inside_a_schema_means_null() -> None:
    with_null, without = DIFFERENT["a null inside a schema"], DIFFERENT["the same schema without it"]

    assert prints(with_null).exact != prints(without).exact


def test_a_null_field_of_a_message_was_not_given() -> None:
    assert prints(said("What is a block?", name=None)).exact == prints(BASE).exact


def test_one_stop_text_is_a_list_of_one() -> None:
    assert prints(body(stop="x")).exact == prints(body(stop=["x"])).exact


@pytest.mark.parametrize(
    "other",
    [
        Scope("someone else", "m"),
        Scope("tenant", "other"),
        Scope("tenant", "m", revision="2"),
        Scope("tenant", "m", namespace="n"),
        Scope("tenant", "m", salt="s"),
        Scope("tenan", "tm"),
    ],
)
def test_every_wall_of_the_scope_separates_every_key(other: Scope) -> None:
    here, there = prints(BASE), prints(BASE, other.digest(SECRET))

    assert {here.exact, here.compat}.isdisjoint({there.exact, there.compat})


def test_walls_also_separate_the_kv_chain_but_models_do_that_themselves() -> None:
    salts = {
        Scope(tenant, "m", namespace=namespace, salt=salt).kv_salt(SECRET)
        for tenant in ("a", "b")
        for namespace in ("", "n")
        for salt in ("", "s")
    }

    assert len(salts) == 8


def test_another_secret_gives_other_keys() -> None:
    assert fingerprints(b"t" * 32, SCOPE, request_of(BASE), {}).exact != prints(BASE).exact


def test_a_tenant_name_does_not_contain_the_credential() -> None:
    assert "sk-secret" not in tenant_of(SECRET, "sk-secret")
    assert tenant_of(SECRET, "sk-secret") != tenant_of(SECRET, "sk-other")


def test_deep_nesting_is_refused_by_the_name_of_its_field() -> None:
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]

    with pytest.raises(InvalidRequest) as refused:
        prints(body(tools_extra=deep))

    assert refused.value.param == "tools_extra"


def test_a_pile_of_combining_marks_is_refused_and_not_sorted() -> None:
    with pytest.raises(InvalidRequest) as refused:
        prints(said("a" + "\u0301\u0316" * 500_000))

    assert refused.value.param == "messages"


def test_as_many_marks_as_any_language_has_are_composed() -> None:
    assert prints(said("a" + "\u0301\u0316" * 15)).exact == prints(said("a" + "\u0316" * 15 + "\u0301" * 15)).exact


@pytest.mark.parametrize(
    ("content", "question"),
    [
        ("  What?  ", "What?"),
        ([{"type": "text", "text": "a"}, PICTURE, {"type": "text", "text": "b"}], "a\nb"),
        ([PICTURE], None),
        ("   ", None),
    ],
)
def test_the_question_is_the_text_of_the_last_user_message(content: Any, question: str | None) -> None:
    assert question_of(request_of(said(content))) == question


def test_a_body_is_split_without_losing_a_field() -> None:
    request, _ = parse_chat(b'{"model":"m","messages":[{"role":"user","content":"x"}],"odd":{"a":[1]},"stream":true}')

    assert request.body() == {"model": "m", "messages": [{"role": "user", "content": "x"}], "odd": {"a": [1]}}
    assert request.stream
