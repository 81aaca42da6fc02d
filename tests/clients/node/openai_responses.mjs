// The official npm package `openai`: the Responses API.

import assert from "node:assert/strict";

import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import { ANSWER, BASE_URL, COLD, KEY, QUESTION, REWORDED, check, collected, learned, main } from "./checking.mjs";

const client = new OpenAI({ baseURL: BASE_URL, apiKey: KEY, maxRetries: 0 });

/** Tier and response. */
async function asked(input, more = {}) {
  const { data, response } = await client.responses.create({ model: "demo", input, ...more }).withResponse();
  return [response.headers.get("x-twicetold-tier"), data];
}

/** Tier, text and the type of the last event. */
async function streamed(input) {
  const [tier, stream] = await asked(input, { stream: true });
  const events = await collected(stream);
  const deltas = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
  return [tier, deltas.join(""), events.at(-1).type];
}

check(async function a_new_question_is_generated() {
  const [tier, response] = await learned(() => asked(QUESTION));
  assert.ok(COLD.includes(tier), tier);
  assert.equal(response.output_text, ANSWER);
});

check(async function the_same_again_is_an_exact_hit() {
  const [tier, response] = await asked(QUESTION);
  assert.deepEqual([tier, response.output_text], ["exact", ANSWER]);
});

check(async function the_same_again_is_an_exact_hit_streamed() {
  assert.deepEqual(await streamed(QUESTION), ["exact", ANSWER, "response.completed"]);
});

check(async function other_words_are_a_semantic_hit() {
  const [tier, response] = await asked(REWORDED);
  assert.deepEqual([tier, response.output_text], ["semantic", ANSWER]);
});

check(async function other_words_are_a_semantic_hit_streamed() {
  assert.deepEqual(await streamed(REWORDED), ["semantic", ANSWER, "response.completed"]);
});

check(async function a_zod_schema_is_filled_in_and_comes_from_memory_when_asked_again() {
  const schema = z.object({ topic: z.enum(["cache", "engine", "other"]), is_question: z.boolean() });
  const format = zodTextFormat(schema, "verdict");
  const wanted = { model: "demo", input: QUESTION, text: { format }, temperature: 0 };
  const [first, again] = [await client.responses.parse(wanted), await client.responses.parse(wanted)];
  assert.ok(schema.parse(first.output_parsed));
  assert.deepEqual(again.output_parsed, first.output_parsed);
});

await main();
