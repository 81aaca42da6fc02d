// The Vercel AI SDK with its OpenAI provider, which speaks the Responses API unless told `.chat`.

import assert from "node:assert/strict";

import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";

import { ANSWER, BASE_URL, COLD, KEY, QUESTION, REWORDED, check, collected, learned, main } from "./checking.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const openai = createOpenAI({ baseURL: BASE_URL, apiKey: KEY });

/** Tier and text. */
async function asked(prompt, model = openai("demo")) {
  const { response, text } = await generateText({ model, prompt, maxRetries: 0 });
  return [response.headers["x-twicetold-tier"], text];
}

/** Tier and text. */
async function streamed(prompt) {
  const result = streamText({ model: openai("demo"), prompt, maxRetries: 0 });
  const text = (await collected(result.textStream)).join("");
  return [(await result.response).headers["x-twicetold-tier"], text];
}

check(async function a_new_question_is_generated() {
  const [tier, text] = await learned(() => asked(QUESTION));
  assert.ok(COLD.includes(tier), tier);
  assert.equal(text, ANSWER);
});

check(async function the_same_again_is_an_exact_hit_streamed_and_not() {
  assert.deepEqual(await asked(QUESTION), ["exact", ANSWER]);
  assert.deepEqual(await streamed(QUESTION), ["exact", ANSWER]);
});

check(async function other_words_are_a_semantic_hit_streamed_and_not() {
  assert.deepEqual(await asked(REWORDED), ["semantic", ANSWER]);
  assert.deepEqual(await streamed(REWORDED), ["semantic", ANSWER]);
});

check(async function what_was_asked_as_a_response_is_known_in_chat() {
  assert.deepEqual(await asked(QUESTION, openai.chat("demo")), ["exact", ANSWER]);
});

await main();
