"""The official `openai` client: the Responses API."""

from typing import Any, Literal

from openai import AsyncOpenAI, NotFoundError, OpenAI
from pydantic import BaseModel, ConfigDict

from tests.clients.python.checking import ANSWER, BASE_URL, COLD, KEY, QUESTION, REWORDED, check, expect, learned, main

client = OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "How the weather is.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Bonn"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


class Verdict(BaseModel):
    """What the demo model is asked to fill in."""

    model_config = ConfigDict(extra="forbid")
    topic: Literal["cache", "engine", "other"]
    is_question: bool


def asked(text: Any, **more: Any) -> tuple[str, Any]:
    """Tier and response."""
    raw = client.responses.with_raw_response.create(model="demo", input=text, **more)
    return raw.headers["x-twicetold-tier"], raw.parse()


def streamed(text: Any, **more: Any) -> tuple[str, list[Any]]:
    """Tier and events."""
    raw = client.responses.with_raw_response.create(model="demo", input=text, stream=True, **more)
    return raw.headers["x-twicetold-tier"], list(raw.parse())


def words(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


@check
def a_new_question_is_generated() -> None:
    tier, response = learned(lambda: asked(QUESTION))
    assert tier in COLD, tier
    expect((response.status, response.output_text), ("completed", ANSWER))


@check
def the_same_again_is_an_exact_hit_with_its_usage() -> None:
    tier, response = asked(QUESTION)
    expect((tier, response.output_text), ("exact", ANSWER))
    assert response.usage.output_tokens > 0


@check
def the_same_again_is_an_exact_hit_streamed() -> None:
    tier, events = streamed(QUESTION)
    expect((tier, words(events)), ("exact", ANSWER))
    expect((events[0].type, events[-1].type), ("response.created", "response.completed"))
    expect([event.sequence_number for event in events], list(range(len(events))))
    expect(events[-1].response.output_text, ANSWER)


@check
def other_words_are_a_semantic_hit() -> None:
    tier, response = asked(REWORDED)
    expect((tier, response.output_text), ("semantic", ANSWER))


@check
def other_words_are_a_semantic_hit_streamed() -> None:
    tier, events = streamed(REWORDED)
    expect((tier, words(events)), ("semantic", ANSWER))


@check
def a_question_asked_here_is_known_in_chat() -> None:
    messages: Any = [{"role": "user", "content": QUESTION}]
    raw = client.chat.completions.with_raw_response.create(model="demo", messages=messages)
    expect((raw.headers["x-twicetold-tier"], raw.parse().choices[0].message.content), ("exact", ANSWER))


@check
def the_stream_helper_of_the_client_sees_the_same_response() -> None:
    with client.responses.stream(model="demo", input=QUESTION) as stream:
        for _ in stream:
            pass
        expect(stream.get_final_response().output_text, ANSWER)


@check
async def the_async_client_gets_exact_and_semantic_hits_streamed_and_not() -> None:
    async with AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0) as asynchronous:
        for text, wanted in ((QUESTION, "exact"), (REWORDED, "semantic")):
            create = asynchronous.responses.with_raw_response.create
            raw = await create(model="demo", input=text)
            whole: Any = raw.parse()
            expect((raw.headers["x-twicetold-tier"], whole.output_text), (wanted, ANSWER))
            raw_stream = await create(model="demo", input=text, stream=True)
            events = [event async for event in raw_stream.parse()]
            expect((raw_stream.headers["x-twicetold-tier"], words(events)), (wanted, ANSWER))


@check
def a_tool_call_is_made_answered_and_replayed_streamed_and_not() -> None:
    tool: Any = {"tools": [WEATHER], "tool_choice": "required", "temperature": 0}
    _, first = asked("How is the weather in Oslo?", **tool)
    call = next(item for item in first.output if item.type == "function_call")
    expect(call.name, "weather")

    tier, again = asked("How is the weather in Oslo?", **tool)
    repeated = next(item for item in again.output if item.type == "function_call")
    expect((tier, repeated.call_id, repeated.arguments), ("exact", call.call_id, call.arguments))

    tier, events = streamed("How is the weather in Oslo?", **tool)
    parts = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    expect((tier, "".join(parts)), ("exact", call.arguments))

    talk: Any = [
        {"role": "user", "content": "How is the weather in Oslo?"},
        {"type": "function_call", "call_id": call.call_id, "name": "weather", "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."},
    ]
    answers = [asked(talk, tools=[WEATHER], tool_choice="none", temperature=0) for _ in range(2)]
    expect((answers[1][0], answers[1][1].output_text), ("exact", answers[0][1].output_text))


@check
def a_talk_is_gone_on_with_by_the_id_of_its_last_response() -> None:
    _, first = asked(QUESTION)
    answers = [asked("How large is a block?", previous_response_id=first.id) for _ in range(2)]
    assert answers[0][0] in COLD, answers[0][0]
    expect((answers[1][0], answers[1][1].output_text), ("exact", answers[0][1].output_text))


@check
def a_pydantic_model_is_filled_in_and_comes_from_memory_when_asked_again() -> None:
    first, again = (
        client.responses.parse(model="demo", input=QUESTION, text_format=Verdict, temperature=0) for _ in range(2)
    )
    assert isinstance(first.output_parsed, Verdict)
    expect(again.output_parsed, first.output_parsed)


@check
def a_model_that_nobody_serves_is_the_clients_own_exception() -> None:
    try:
        client.responses.create(model="nobody", input=QUESTION)
    except NotFoundError as error:
        expect(error.code, "model_not_found")
    else:
        raise AssertionError("no error")


main()
