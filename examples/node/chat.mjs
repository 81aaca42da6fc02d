// A chat with the Vercel AI SDK: every turn is streamed. npm install ai @ai-sdk/openai-compatible
//
// Prints:
//
//     > What is prefix caching?
//     Prefix caching keeps the KV blocks of a prompt and reuses them when another prompt begins with the same tokens.
//     [full]
//     > How large is a block?
//     A block is a run of 32 tokens with the keys and values of all layers, the unit that is kept, evicted and moved between tiers.
//     [kv]

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { streamText } from "ai";

const twicetold = createOpenAICompatible({ name: "twicetold", baseURL: "http://127.0.0.1:8420/v1", apiKey: "any" });
const messages = [];

for (const question of ["What is prefix caching?", "How large is a block?"]) {
  console.log(">", question);
  messages.push({ role: "user", content: question });
  const result = streamText({ model: twicetold("demo"), messages });
  let answer = "";
  for await (const part of result.textStream) {
    answer += part;
    process.stdout.write(part);
  }
  const { headers } = await result.response;
  console.log(`\n[${headers["x-twicetold-tier"]}]`);
  messages.push({ role: "assistant", content: answer });
}
