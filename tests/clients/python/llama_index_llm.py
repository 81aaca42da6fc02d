"""LlamaIndex's `OpenAILike`. It keeps no headers, so its HTTP client notes the tier of each response."""

from typing import Any, Literal

import httpx
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

from tests.clients.python.checking import ANSWER, BASE_URL, COLD, KEY, QUESTION, REWORDED, check, expect, learned, main

tiers: list[str] = []


def note(response: httpx.Response) -> None:
    tiers.append(response.headers["x-twicetold-tier"])


async def note_later(response: httpx.Response) -> None:
    note(response)


def llm(**more: Any) -> OpenAILike:
    return OpenAILike(
        model="demo",
        api_base=BASE_URL,
        api_key=KEY,
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
        http_client=httpx.Client(event_hooks={"response": [note]}),
        async_http_client=httpx.AsyncClient(event_hooks={"response": [note_later]}),
        **more,
    )


model = llm()


def talk(text: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=text)]


@check
def a_new_question_is_generated() -> None:
    response = learned(lambda: model.chat(talk(QUESTION)))
    assert tiers[-1] in COLD, tiers
    expect(response.message.content, ANSWER)


@check
def the_same_again_is_an_exact_hit() -> None:
    expect(model.chat(talk(QUESTION)).message.content, ANSWER)
    expect(tiers[-1], "exact")


@check
def the_same_again_is_an_exact_hit_streamed() -> None:
    expect("".join(part.delta or "" for part in model.stream_chat(talk(QUESTION))), ANSWER)
    expect(tiers[-1], "exact")


@check
def other_words_are_a_semantic_hit() -> None:
    expect(model.chat(talk(REWORDED)).message.content, ANSWER)
    expect(tiers[-1], "semantic")


@check
def other_words_are_a_semantic_hit_streamed() -> None:
    expect("".join(part.delta or "" for part in model.stream_chat(talk(REWORDED))), ANSWER)
    expect(tiers[-1], "semantic")


@check
def a_completion_is_a_chat_of_one_message() -> None:
    expect(model.complete(QUESTION).text, ANSWER)
    expect(tiers[-1], "exact")


@check
async def the_async_methods_get_exact_and_semantic_hits_streamed_and_not() -> None:
    for text, wanted in ((QUESTION, "exact"), (REWORDED, "semantic")):
        expect((await model.achat(talk(text))).message.content, ANSWER)
        expect(tiers[-1], wanted)
        parts = [part.delta or "" async for part in await model.astream_chat(talk(text))]
        expect(("".join(parts), tiers[-1]), (ANSWER, wanted))


@check
def a_cache_control_is_told_in_the_extra_body() -> None:
    llm(additional_kwargs={"extra_body": {"cache": {"no-cache": True}}}).chat(talk(QUESTION))
    assert tiers[-1] in COLD, tiers


@check
def a_tool_call_is_made_and_replayed() -> None:
    def weather(city: Literal["Oslo", "Bonn"]) -> str:
        """How the weather is."""
        return f"Rain in {city}."

    chosen = llm(temperature=0)
    tool = FunctionTool.from_defaults(weather)
    calls = []
    for _ in range(2):
        response = chosen.chat_with_tools([tool], user_msg="How is the weather in Oslo?", tool_required=True)
        calls.append(chosen.get_tool_calls_from_response(response, error_on_no_tool_call=True)[0])
    expect((tiers[-1], calls[0].tool_name, calls[1].tool_kwargs), ("exact", "weather", calls[0].tool_kwargs))


main()
