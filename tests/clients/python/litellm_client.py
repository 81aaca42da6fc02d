"""LiteLLM as a client: the gateway's headers come with `llm_provider-` before them."""

from typing import Any

import litellm

from tests.clients.python.checking import (
    ANSWER,
    BASE_URL,
    COLD,
    KEY,
    QUESTION,
    REWORDED,
    URL,
    check,
    expect,
    learned,
    main,
    said,
)

litellm.telemetry = False
ROAD: dict[str, Any] = {"model": "openai/demo", "api_base": BASE_URL, "api_key": KEY, "max_retries": 0}


def tier(response: Any) -> str:
    found: str = response._hidden_params["additional_headers"]["llm_provider-x-twicetold-tier"]
    return found


def asked(text: str, **more: Any) -> tuple[str, str]:
    """Tier and text."""
    response = litellm.completion(messages=said(text), **ROAD, **more)
    return tier(response), response.choices[0].message.content


def streamed(text: str) -> tuple[str, str]:
    response = litellm.completion(messages=said(text), stream=True, **ROAD)
    parts = [chunk.choices[0].delta.content or "" for chunk in response]
    return tier(response), "".join(parts)


@check
def a_new_question_is_generated() -> None:
    found, text = learned(lambda: asked(QUESTION))
    assert found in COLD
    expect(text, ANSWER)


@check
def the_same_again_is_an_exact_hit() -> None:
    expect(asked(QUESTION), ("exact", ANSWER))


@check
def the_same_again_is_an_exact_hit_streamed() -> None:
    expect(streamed(QUESTION), ("exact", ANSWER))


@check
def other_words_are_a_semantic_hit() -> None:
    expect(asked(REWORDED), ("semantic", ANSWER))


@check
def other_words_are_a_semantic_hit_streamed() -> None:
    expect(streamed(REWORDED), ("semantic", ANSWER))


@check
async def the_async_functions_get_exact_and_semantic_hits_streamed_and_not() -> None:
    for text, wanted in ((QUESTION, "exact"), (REWORDED, "semantic")):
        response = await litellm.acompletion(messages=said(text), **ROAD)
        expect((tier(response), response.choices[0].message.content), (wanted, ANSWER))
        response = await litellm.acompletion(messages=said(text), stream=True, **ROAD)
        parts = [chunk.choices[0].delta.content or "" async for chunk in response]
        expect((tier(response), "".join(parts)), (wanted, ANSWER))


@check
def a_model_of_anthropics_api_is_served_by_the_messages_route() -> None:
    road = {"model": "anthropic/demo", "api_base": URL, "api_key": KEY, "max_retries": 0, "max_tokens": 200}
    first, again = (litellm.completion(messages=said(), **road) for _ in range(2))
    expect([first.choices[0].message.content, again.choices[0].message.content], [ANSWER, ANSWER])
    expect(tier(again), "exact")


@check
def its_cache_controls_are_understood_in_the_extra_body() -> None:
    expect(asked(QUESTION, extra_body={"cache": {"no-cache": True}})[0] in COLD, True)
    expect(asked(QUESTION, extra_body={"cache": {"namespace": "another"}})[0] in COLD, True)


@check
def a_model_that_nobody_serves_is_litellms_own_exception() -> None:
    try:
        litellm.completion(messages=said(), **ROAD | {"model": "openai/nobody"})
    except litellm.NotFoundError:
        pass
    else:
        raise AssertionError("no error")


main()
