"""LangChain's `ChatOpenAI`: the headers are in the message's `response_metadata`."""

from typing import Any, Literal

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from tests.clients.python.checking import ANSWER, BASE_URL, COLD, KEY, QUESTION, REWORDED, check, expect, learned, main


def chat(**more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model="demo", base_url=BASE_URL, api_key=KEY, include_response_headers=True, max_retries=0, **more
    )


model = chat()


class Verdict(BaseModel):
    """What the demo model is asked to fill in."""

    topic: Literal["cache", "engine", "other"]
    is_question: bool


@tool  # type: ignore[untyped-decorator]  # LangChain is not where mypy runs
def weather(city: Literal["Oslo", "Bonn"]) -> str:
    """How the weather is."""
    return f"Rain in {city}."


def tier(message: AIMessage) -> str:
    found: str = message.response_metadata["headers"]["x-twicetold-tier"]
    return found


def whole(chunks: list[AIMessageChunk]) -> AIMessage:
    """A stream, added up as LangChain adds."""
    assert chunks
    message = chunks[0]
    for chunk in chunks[1:]:
        message = message + chunk
    return message


@check
def a_new_question_is_generated() -> None:
    message = learned(lambda: model.invoke(QUESTION))
    assert tier(message) in COLD
    expect(message.content, ANSWER)


@check
def the_same_again_is_an_exact_hit() -> None:
    message = model.invoke([HumanMessage(QUESTION)])
    expect((tier(message), message.content), ("exact", ANSWER))
    assert message.usage_metadata["output_tokens"] > 0


@check
def the_same_again_is_an_exact_hit_streamed() -> None:
    message = whole(list(model.stream(QUESTION)))
    expect((tier(message), message.content), ("exact", ANSWER))


@check
def other_words_are_a_semantic_hit() -> None:
    message = model.invoke(REWORDED)
    expect((tier(message), message.content), ("semantic", ANSWER))


@check
def other_words_are_a_semantic_hit_streamed() -> None:
    message = whole(list(model.stream(REWORDED)))
    expect((tier(message), message.content), ("semantic", ANSWER))


@check
async def the_async_methods_get_exact_and_semantic_hits_streamed_and_not() -> None:
    model = chat()
    for text, wanted in ((QUESTION, "exact"), (REWORDED, "semantic")):
        message = await model.ainvoke(text)
        expect((tier(message), message.content), (wanted, ANSWER))
        message = whole([chunk async for chunk in model.astream(text)])
        expect((tier(message), message.content), (wanted, ANSWER))


@check
def a_tool_call_is_made_answered_and_replayed() -> None:
    bound = chat(temperature=0).bind_tools([weather], tool_choice="weather")
    first, again = (bound.invoke("How is the weather in Oslo?") for _ in range(2))
    assert tier(first) in COLD
    expect((tier(again), again.tool_calls), ("exact", first.tool_calls))
    streamed = whole(list(bound.stream("How is the weather in Oslo?")))
    expect((tier(streamed), streamed.tool_calls), ("exact", first.tool_calls))

    result = weather.invoke(first.tool_calls[0])
    assert isinstance(result, ToolMessage)
    talk = [HumanMessage("How is the weather in Oslo?"), first, result]
    answers = [chat(temperature=0, max_tokens=60).invoke(talk) for _ in range(2)]
    expect(tier(answers[1]), "exact")
    expect(answers[1].content, answers[0].content)


@check
def structured_output_is_filled_in_and_comes_from_memory_when_asked_again() -> None:
    structured = chat(temperature=0).with_structured_output(Verdict, method="json_schema", include_raw=True)
    first, again = (structured.invoke(QUESTION) for _ in range(2))
    assert isinstance(first["parsed"], Verdict)
    expect(again["parsed"], first["parsed"])


@check
def the_responses_api_knows_what_was_asked_in_chat_streamed_and_not() -> None:
    responses = chat(use_responses_api=True)
    message = responses.invoke(QUESTION)
    expect((tier(message), message.text), ("exact", ANSWER))
    message = whole(list(responses.stream(REWORDED)))
    expect(message.text, ANSWER)


@check
def texts_are_embedded() -> None:
    embeddings = OpenAIEmbeddings(
        model="all-MiniLM-L6-v2", base_url=BASE_URL, api_key=KEY, check_embedding_ctx_length=False
    )
    first, again = embeddings.embed_documents(["a cache", "an engine"]), embeddings.embed_query("a cache")
    expect((len(first), len(first[0]), again), (2, 384, first[0]))


@check
def a_cache_control_is_told_in_the_extra_body() -> None:
    assert tier(chat(extra_body={"cache": {"no-cache": True}}).invoke(QUESTION)) in COLD


main()
