// What the checks of every Node client share: who to ask, what to ask, and how what came of it is told.
//
// A client's script lists its checks with `check(async function what_it_sees() {...})` and ends in `await main()`. It
// prints one JSON line per check: {"name": ..., "error": null or what went wrong}.

import net from "node:net";

export const URL = process.env.GATEWAY_URL;
export const BASE_URL = `${URL}/v1`;
export const KEY = process.env.CLIENT_KEY;

export const QUESTION = "What is prefix caching?"; // both are in the corpus of the demo model
export const REWORDED = "Explain what prefix caching is.";
export const ANSWER =
  "Prefix caching keeps the KV blocks of a prompt and reuses them when another prompt begins with the same tokens.";
export const COLD = ["full", "kv"]; // generated; the system prompt may have been read before

const checks = [];

// Nothing beyond this machine can be reached: a client that phones home fails the check that it does so in.
const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...given) {
  const [options] = Array.isArray(given[0]) ? given[0] : given;
  const host = options?.host ?? "127.0.0.1";
  if (!["127.0.0.1", "localhost", "::1"].includes(host)) throw new Error(`a client calls ${host}`);
  return connect.apply(this, given);
};

/** This function is a check; they run in the order of the file. */
export function check(run) {
  checks.push(run);
}

export async function main() {
  for (const run of checks) {
    let error = null;
    try {
      await run();
    } catch (problem) {
      error = problem.stack ?? String(problem);
    }
    console.log(JSON.stringify({ name: run.name, error }));
  }
}

/** Ask something new, and wait until it can be found in other words. */
export async function learned(ask) {
  const known = await vectors();
  const answer = await ask();
  const deadline = Date.now() + 20_000;
  while ((await vectors()) === known) {
    if (Date.now() > deadline) throw new Error("the question was not learned");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return answer;
}

export async function collected(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

async function vectors() {
  const response = await fetch(`${URL}/admin/api/stats`);
  return (await response.json()).vectors;
}
