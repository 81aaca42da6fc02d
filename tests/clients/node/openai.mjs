// The official npm package `openai`.

import assert from "node:assert/strict";

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { ANSWER, BASE_URL, COLD, KEY, QUESTION, REWORDED, check, collected, learned, main } from "./checking.mjs";

const client = new OpenAI({ baseURL: BASE_URL, apiKey: KEY, maxRetries: 0 });

const WEATHER = {
  type: "function",
  function: {
    name: "weather",
    description: "How the weather is.",
    parameters: {
      type: "object",
      properties: { city: { enum: ["Oslo", "Bonn"] } },
      required: ["city"],
      additionalProperties: false,
    },
  },
};

const said = (text) => ({ model: "demo", messages: [{ role: "user", content: text }] });

/** Tier and completion. */
async function asked(text, more = {}, options = {}) {
  const request = client.chat.completions.create({ ...said(text), ...more }, options);
  const { data, response } = await request.withResponse();
  return [response.headers.get("x-twicetold-tier"), data];
}

/** Tier and chunks. */
async function streamed(text, more = {}) {
  const [tier, stream] = await asked(text, { stream: true, ...more });
  return [tier, await collected(stream)];
}

const content = (completion) => completion.choices[0].message.content;
const words = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

check(async function a_new_question_is_generated() {
  const [tier, completion] = await learned(() => asked(QUESTION));
  assert.ok(COLD.includes(tier), tier);
  assert.equal(content(completion), ANSWER);
});

check(async function the_same_again_is_an_exact_hit() {
  const [tier, completion] = await asked(QUESTION);
  assert.deepEqual([tier, content(completion)], ["exact", ANSWER]);
  assert.equal(completion.usage.prompt_tokens_details.cached_tokens, 0);
});

check(async function the_same_again_is_an_exact_hit_streamed() {
  const [tier, chunks] = await streamed(QUESTION, { stream_options: { include_usage: true } });
  assert.deepEqual([tier, words(chunks)], ["exact", ANSWER]);
  assert.ok(chunks.at(-1).usage.completion_tokens > 0);
});

check(async function other_words_are_a_semantic_hit() {
  const [tier, completion] = await asked(REWORDED);
  assert.deepEqual([tier, content(completion)], ["semantic", ANSWER]);
});

check(async function other_words_are_a_semantic_hit_streamed() {
  const [tier, chunks] = await streamed(REWORDED);
  assert.deepEqual([tier, words(chunks)], ["semantic", ANSWER]);
});

check(async function the_stream_helper_of_the_client_sees_the_same_completion() {
  const stream = client.chat.completions.stream(said(QUESTION));
  assert.equal(await stream.finalContent(), ANSWER);
});

check(async function a_tool_call_is_made_and_replayed_streamed_and_not() {
  const tool = { tools: [WEATHER], tool_choice: "required", temperature: 0 };
  const [, first] = await asked("How is the weather in Oslo?", tool);
  const call = first.choices[0].message.tool_calls[0];
  assert.deepEqual([first.choices[0].finish_reason, call.function.name], ["tool_calls", "weather"]);

  const [tier, again] = await asked("How is the weather in Oslo?", tool);
  assert.deepEqual([tier, again.choices[0].message.tool_calls], ["exact", first.choices[0].message.tool_calls]);

  const [later, chunks] = await streamed("How is the weather in Oslo?", tool);
  const parts = chunks.flatMap((chunk) => chunk.choices[0]?.delta.tool_calls ?? []);
  assert.deepEqual([later, parts[0].id], ["exact", call.id]);
  assert.equal(parts.map((part) => part.function.arguments ?? "").join(""), call.function.arguments);
});

check(async function a_zod_schema_is_filled_in_and_comes_from_memory_when_asked_again() {
  const schema = z.object({ topic: z.enum(["cache", "engine", "other"]), is_question: z.boolean() });
  const wanted = { ...said(QUESTION), response_format: zodResponseFormat(schema, "verdict"), temperature: 0 };
  const [first, again] = [await client.chat.completions.parse(wanted), await client.chat.completions.parse(wanted)];
  assert.ok(schema.parse(first.choices[0].message.parsed));
  assert.deepEqual(again.choices[0].message.parsed, first.choices[0].message.parsed);
});

check(async function cache_controls_go_in_the_body_or_in_headers() {
  const [inBody] = await asked(QUESTION, { cache: { tiers: [] } });
  assert.equal(inBody, "full");
  const [inHeader] = await asked(QUESTION, {}, { headers: { "Cache-Control": "no-cache" } });
  assert.ok(COLD.includes(inHeader), inHeader);
});

check(async function a_model_that_nobody_serves_is_the_clients_own_exception() {
  const request = client.chat.completions.create({ ...said(QUESTION), model: "nobody" });
  await assert.rejects(request, (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
});

await main();
