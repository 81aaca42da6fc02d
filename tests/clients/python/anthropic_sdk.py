"""The official `anthropic` client: the Messages API, of whatever model."""

from typing import Any

from anthropic import Anthropic, AsyncAnthropic, NotFoundError

from tests.clients.python.checking import ANSWER, COLD, KEY, QUESTION, REWORDED, URL, check, expect, learned, main, said

client = Anthropic(base_url=URL, api_key=KEY, max_retries=0)

WEATHER: Any = {
    "name": "weather",
    "description": "How the weather is.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Bonn"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "demo", "max_tokens": 200, "messages": said(text), **more}


def asked(text: str, **more: Any) -> tuple[str, Any]:
    """Tier and message."""
    raw = client.messages.with_raw_response.create(**body(text, **more))
    return raw.headers["x-twicetold-tier"], raw.parse()


def streamed(text: str, **more: Any) -> tuple[str, list[Any]]:
    """Tier and events."""
    raw = client.messages.with_raw_response.create(stream=True, **body(text, **more))
    return raw.headers["x-twicetold-tier"], list(raw.parse())


def words(events: list[Any]) -> str:
    return "".join(
        event.delta.text for event in events if event.type == "content_block_delta" and event.delta.type == "text_delta"
    )


@check
def a_new_question_is_generated() -> None:
    tier, message = learned(lambda: asked(QUESTION))
    assert tier in COLD, tier
    expect((message.role, message.content[0].text, message.stop_reason), ("assistant", ANSWER, "end_turn"))


@check
def the_same_again_is_an_exact_hit_with_its_usage() -> None:
    tier, message = asked(QUESTION)
    expect((tier, message.content[0].text), ("exact", ANSWER))
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0
    expect(message.usage.cache_read_input_tokens, 0)


@check
def the_same_again_is_an_exact_hit_streamed() -> None:
    tier, events = streamed(QUESTION)
    expect((tier, words(events)), ("exact", ANSWER))
    expect((events[0].type, events[-1].type), ("message_start", "message_stop"))


@check
def other_words_are_a_semantic_hit() -> None:
    tier, message = asked(REWORDED)
    expect((tier, message.content[0].text), ("semantic", ANSWER))


@check
def other_words_are_a_semantic_hit_streamed() -> None:
    tier, events = streamed(REWORDED)
    expect((tier, words(events)), ("semantic", ANSWER))


@check
def the_stream_helper_of_the_client_sees_the_same_message() -> None:
    with client.messages.stream(**body(QUESTION)) as stream:
        expect("".join(stream.text_stream), ANSWER)
        expect(stream.get_final_message().stop_reason, "end_turn")


@check
async def the_async_client_gets_exact_and_semantic_hits_streamed_and_not() -> None:
    async with AsyncAnthropic(base_url=URL, api_key=KEY, max_retries=0) as asynchronous:
        for text, wanted in ((QUESTION, "exact"), (REWORDED, "semantic")):
            raw = await asynchronous.messages.with_raw_response.create(**body(text))
            message: Any = await raw.parse()
            expect((raw.headers["x-twicetold-tier"], message.content[0].text), (wanted, ANSWER))
            async with asynchronous.messages.stream(**body(text)) as stream:
                parts = [part async for part in stream.text_stream]
                expect((stream.response.headers["x-twicetold-tier"], "".join(parts)), (wanted, ANSWER))


@check
def a_system_prompt_is_part_of_the_question() -> None:
    tier, _ = asked(QUESTION, system="Answer in one sentence.")
    assert tier in COLD, tier
    tier, _ = asked(QUESTION, system=[{"type": "text", "text": "Answer in one sentence."}])
    expect(tier, "exact")


@check
def a_tool_is_used_answered_and_replayed_streamed_and_not() -> None:
    tool: Any = {"tools": [WEATHER], "tool_choice": {"type": "any"}}
    _, first = asked("How is the weather in Oslo?", **tool)
    use = next(block for block in first.content if block.type == "tool_use")
    expect((first.stop_reason, use.name), ("tool_use", "weather"))

    tier, again = asked("How is the weather in Oslo?", **tool)
    repeated = next(block for block in again.content if block.type == "tool_use")
    expect((tier, repeated.id, repeated.input), ("exact", use.id, use.input))

    with client.messages.stream(**body("How is the weather in Oslo?", **tool)) as stream:
        replayed = next(block for block in stream.get_final_message().content if block.type == "tool_use")
        expect(stream.response.headers["x-twicetold-tier"], "exact")
    expect((replayed.id, replayed.input), (use.id, use.input))

    talk: Any = [
        *said("How is the weather in Oslo?"),
        {"role": "assistant", "content": [{"type": "tool_use", "id": use.id, "name": "weather", "input": use.input}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "Rain."}]},
    ]
    answers = [asked("", messages=talk, tools=[WEATHER], tool_choice={"type": "none"}) for _ in range(2)]
    expect((answers[1][0], answers[1][1].content), ("exact", answers[0][1].content))


@check
def tokens_are_counted_without_an_answer() -> None:
    counted = client.messages.count_tokens(model="demo", messages=said())
    assert counted.input_tokens > 0


@check
def cache_controls_go_in_headers() -> None:
    tier, _ = asked(QUESTION, extra_headers={"Cache-Control": "no-cache"})
    assert tier in COLD, tier


@check
def a_model_that_nobody_serves_is_the_clients_own_exception() -> None:
    try:
        client.messages.create(**body(QUESTION, model="nobody"))
    except NotFoundError as error:
        expect(error.body["error"]["type"], "not_found_error")
    else:
        raise AssertionError("no error")


main()
