// The Vercel AI SDK, with its provider for OpenAI-compatible servers: the headers are in `response.headers`.

import assert from "node:assert/strict";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, embed, embedMany, generateText, jsonSchema, streamText, tool } from "ai";
import { z } from "zod";

import { ANSWER, BASE_URL, COLD, KEY, QUESTION, REWORDED, check, collected, learned, main } from "./checking.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const provider = createOpenAICompatible({
  name: "twicetold",
  baseURL: BASE_URL,
  apiKey: KEY,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = provider("demo");
const weather = tool({
  description: "How the weather is.",
  inputSchema: jsonSchema({
    type: "object",
    properties: { city: { enum: ["Oslo", "Bonn"] } },
    required: ["city"],
    additionalProperties: false,
  }),
});

/** Tier and text. */
async function asked(prompt, more = {}) {
  const { response, text } = await generateText({ model, prompt, maxRetries: 0, ...more });
  return [response.headers["x-twicetold-tier"], text];
}

/** Tier, text and usage. */
async function streamed(prompt) {
  const result = streamText({ model, prompt, maxRetries: 0 });
  const text = (await collected(result.textStream)).join("");
  return [(await result.response).headers["x-twicetold-tier"], text, await result.usage];
}

check(async function a_new_question_is_generated() {
  const [tier, text] = await learned(() => asked(QUESTION));
  assert.ok(COLD.includes(tier), tier);
  assert.equal(text, ANSWER);
});

check(async function the_same_again_is_an_exact_hit() {
  assert.deepEqual(await asked(QUESTION), ["exact", ANSWER]);
});

check(async function the_same_again_is_an_exact_hit_streamed_with_its_usage() {
  const [tier, text, usage] = await streamed(QUESTION);
  assert.deepEqual([tier, text], ["exact", ANSWER]);
  assert.ok(usage.outputTokens > 0);
});

check(async function other_words_are_a_semantic_hit() {
  assert.deepEqual(await asked(REWORDED), ["semantic", ANSWER]);
});

check(async function other_words_are_a_semantic_hit_streamed() {
  assert.deepEqual((await streamed(REWORDED)).slice(0, 2), ["semantic", ANSWER]);
});

check(async function a_tool_call_is_made_and_replayed_streamed_and_not() {
  const wanted = { model, prompt: "How is the weather in Oslo?", tools: { weather }, toolChoice: "required", temperature: 0 };
  const first = await generateText(wanted);
  const again = await generateText(wanted);
  assert.equal(first.toolCalls[0].toolName, "weather");
  assert.deepEqual(again.toolCalls[0].input, first.toolCalls[0].input);
  assert.equal(again.response.headers["x-twicetold-tier"], "exact");

  const result = streamText(wanted);
  const calls = await result.toolCalls;
  assert.deepEqual(calls[0].input, first.toolCalls[0].input);
  assert.equal((await result.response).headers["x-twicetold-tier"], "exact");
});

check(async function a_zod_object_is_filled_in_and_comes_from_memory_when_asked_again() {
  const schema = z.object({ topic: z.enum(["cache", "engine", "other"]), is_question: z.boolean() });
  const wanted = { model, prompt: QUESTION, output: Output.object({ schema }), temperature: 0 };
  const [first, again] = [await generateText(wanted), await generateText(wanted)];
  assert.ok(schema.parse(first.output));
  assert.deepEqual(again.output, first.output);
  assert.equal(again.response.headers["x-twicetold-tier"], "exact");
});

check(async function vectors_are_kept_one_by_one() {
  const embedder = provider.embeddingModel("all-MiniLM-L6-v2");
  const first = await embed({ model: embedder, value: "a cache" });
  const both = await embedMany({ model: embedder, values: ["an engine", "a cache"] });
  assert.equal(first.embedding.length, 384);
  assert.deepEqual(both.embeddings[1], first.embedding);
  assert.equal(both.responses[0].headers["x-twicetold-items"], "1/2");
});

check(async function a_cache_control_is_a_header_or_a_provider_option() {
  const [inHeader] = await asked(QUESTION, { headers: { "Cache-Control": "no-cache" } });
  assert.ok(COLD.includes(inHeader), inHeader);
  const [inBody] = await asked(QUESTION, { providerOptions: { twicetold: { cache: { tiers: [] } } } });
  assert.equal(inBody, "full");
});

await main();
