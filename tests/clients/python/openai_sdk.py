"""The official `openai` client: chat."""

from typing import Any, Literal

from openai import APIStatusError, AsyncOpenAI, NotFoundError, OpenAI
from pydantic import BaseModel, ConfigDict

from tests.clients.python.checking import (
    ANSWER,
    BASE_URL,
    COLD,
    KEY,
    QUESTION,
    REWORDED,
    check,
    expect,
    learned,
    main,
    said,
)

client = OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "How the weather is.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Bonn"]}, "days": {"enum": [1, 2, 3]}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}


class Verdict(BaseModel):
    """What the demo model is asked to fill in."""

    model_config = ConfigDict(extra="forbid")
    topic: Literal["cache", "engine", "other"]
    is_question: bool


def asked(text: str, **more: Any) -> tuple[str, Any]:
    """Tier and completion."""
    raw = client.chat.completions.with_raw_response.create(model="demo", messages=said(text), **more)
    return raw.headers["x-twicetold-tier"], raw.parse()


def streamed(text: str, **more: Any) -> tuple[str, list[Any]]:
    """Tier and chunks."""
    raw = client.chat.completions.with_raw_response.create(model="demo", messages=said(text), stream=True, **more)
    return raw.headers["x-twicetold-tier"], list(raw.parse())


def words(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@check
def a_new_question_is_generated() -> None:
    tier, completion = learned(lambda: asked(QUESTION))
    assert tier in COLD, tier
    expect(completion.choices[0].message.content, ANSWER)


@check
def the_same_again_is_an_exact_hit_with_the_same_answer_and_usage() -> None:
    tier, completion = asked(QUESTION)
    expect((tier, completion.choices[0].message.content), ("exact", ANSWER))
    assert completion.usage.completion_tokens > 0
    assert completion.usage.prompt_tokens_details.cached_tokens == 0


@check
def the_same_again_is_an_exact_hit_streamed() -> None:
    tier, chunks = streamed(QUESTION, stream_options={"include_usage": True})
    expect((tier, words(chunks)), ("exact", ANSWER))
    expect(len({chunk.id for chunk in chunks}), 1)
    assert chunks[-1].usage.completion_tokens > 0


@check
def other_words_are_a_semantic_hit() -> None:
    tier, completion = asked(REWORDED)
    expect((tier, completion.choices[0].message.content), ("semantic", ANSWER))


@check
def other_words_are_a_semantic_hit_streamed() -> None:
    tier, chunks = streamed(REWORDED)
    expect((tier, words(chunks)), ("semantic", ANSWER))


@check
def the_stream_helper_of_the_client_sees_the_same_completion() -> None:
    with client.chat.completions.stream(model="demo", messages=said()) as stream:
        done = [event for event in stream if event.type == "content.done"]
        completion = stream.get_final_completion()
    expect([event.content for event in done], [ANSWER])
    expect(completion.choices[0].finish_reason, "stop")


@check
async def the_async_client_gets_exact_and_semantic_hits_streamed_and_not() -> None:
    async with AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0) as asynchronous:
        for text, wanted in ((QUESTION, "exact"), (REWORDED, "semantic")):
            create = asynchronous.chat.completions.with_raw_response.create
            raw = await create(model="demo", messages=said(text))
            whole: Any = raw.parse()
            expect((raw.headers["x-twicetold-tier"], whole.choices[0].message.content), (wanted, ANSWER))
            raw_stream = await create(model="demo", messages=said(text), stream=True)
            chunks = [chunk async for chunk in raw_stream.parse()]
            expect((raw_stream.headers["x-twicetold-tier"], words(chunks)), (wanted, ANSWER))


@check
def a_question_that_was_first_streamed_is_an_exact_hit_unstreamed() -> None:
    tier, chunks = streamed("What is a block table?")
    assert tier in COLD, tier
    tier, completion = asked("What is a block table?")
    expect((tier, completion.choices[0].message.content), ("exact", words(chunks)))


@check
def a_tool_call_is_made_and_replayed_streamed_and_not() -> None:
    tool: Any = {"tools": [WEATHER], "tool_choice": "required", "temperature": 0}
    tier, first = asked("How is the weather in Oslo?", **tool)
    assert tier in COLD, tier
    call = first.choices[0].message.tool_calls[0]
    expect((first.choices[0].finish_reason, call.function.name), ("tool_calls", "weather"))

    tier, again = asked("How is the weather in Oslo?", **tool)
    expect((tier, again.choices[0].message.tool_calls), ("exact", first.choices[0].message.tool_calls))

    tier, chunks = streamed("How is the weather in Oslo?", **tool)
    parts = [part for chunk in chunks for choice in chunk.choices for part in choice.delta.tool_calls or ()]
    expect((tier, parts[0].id, parts[0].function.name), ("exact", call.id, "weather"))
    expect("".join(part.function.arguments or "" for part in parts), call.function.arguments)


@check
def a_talk_with_a_tools_result_is_answered_and_is_an_exact_hit_again() -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Oslo","days":1}'},
    }
    messages: Any = [
        *said("How is the weather in Oslo?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
    ]
    tiers = []
    for _ in range(2):
        raw = client.chat.completions.with_raw_response.create(
            model="demo", messages=messages, tools=[WEATHER], tool_choice="none", max_tokens=60
        )
        tiers.append(raw.headers["x-twicetold-tier"])
        assert raw.parse().choices[0].message.content
    assert tiers[0] in COLD, tiers
    expect(tiers[1], "exact")


@check
def a_pydantic_model_is_filled_in_and_comes_from_memory_when_asked_again() -> None:
    first, again = (
        client.chat.completions.parse(model="demo", messages=said(), response_format=Verdict, temperature=0)
        for _ in range(2)
    )
    assert isinstance(first.choices[0].message.parsed, Verdict)
    expect(again.choices[0].message.parsed, first.choices[0].message.parsed)
    schema: Any = {
        "type": "json_schema",
        "json_schema": {"name": "Verdict", "strict": True, "schema": Verdict.model_json_schema()},
    }
    expect([asked(QUESTION, response_format=schema, temperature=0)[0] for _ in range(2)][1], "exact")


@check
def a_raw_completion_is_an_exact_hit_again_streamed_and_not() -> None:
    def create(**more: Any) -> Any:
        return client.completions.with_raw_response.create(
            model="demo", prompt="A cache is", max_tokens=200, temperature=0, **more
        )

    first, again, stream = create(), create(), create(stream=True)
    assert first.headers["x-twicetold-tier"] in COLD
    expect([again.headers["x-twicetold-tier"], stream.headers["x-twicetold-tier"]], ["exact", "exact"])
    text = first.parse().choices[0].text
    expect(again.parse().choices[0].text, text)
    expect("".join(chunk.choices[0].text for chunk in stream.parse() if chunk.choices), text)


@check
def vectors_are_kept_one_by_one() -> None:
    def embedded(*texts: str) -> tuple[str, list[list[float]]]:
        raw = client.embeddings.with_raw_response.create(model="all-MiniLM-L6-v2", input=list(texts))
        return raw.headers["x-twicetold-items"], [item.embedding for item in raw.parse().data]

    items, first = embedded("a cache")
    expect((items, len(first[0])), ("0/1", 384))
    items, both = embedded("an engine", "a cache")
    expect((items, both[1]), ("1/2", first[0]))


@check
def cache_controls_go_in_the_body_or_in_headers() -> None:
    expect(asked(QUESTION, extra_body={"cache": {"tiers": []}})[0], "full")
    tier, _ = asked(QUESTION, extra_headers={"Cache-Control": "no-cache"})
    assert tier in COLD, tier
    tier, _ = asked(QUESTION, extra_body={"cache_salt": "mine alone"})
    expect(tier, "full")


@check
def a_header_for_every_user_walls_them_off_from_each_other() -> None:
    mine, other = {"x-portkey-cache-namespace": "user-1"}, {"x-portkey-cache-namespace": "user-2"}
    tiers = [asked("What is a block table?", extra_headers=headers)[0] for headers in (mine, mine, other)]
    assert tiers[0] in COLD, tiers
    expect(tiers[1], "exact")
    assert tiers[2] in COLD, tiers


@check
def what_is_asked_for_from_memory_alone_and_is_not_there_is_not_asked_for_again() -> None:
    headers = {"Cache-Control": "only-if-cached"}
    with OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=2) as patient:
        try:
            patient.chat.completions.create(model="demo", messages=said("Never asked."), extra_headers=headers)
        except APIStatusError as error:
            retries = error.response.request.headers["x-stainless-retry-count"]
            expect((error.status_code, error.code, retries), (504, "not_cached", "0"))
        else:
            raise AssertionError("no error")


@check
def the_models_are_listed() -> None:
    assert "demo" in [model.id for model in client.models.list()]


@check
def a_model_that_nobody_serves_is_the_clients_own_exception() -> None:
    try:
        client.chat.completions.create(model="nobody", messages=said())
    except NotFoundError as error:
        expect(error.code, "model_not_found")
    else:
        raise AssertionError("no error")


main()
