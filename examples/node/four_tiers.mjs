// One question in four ways, and the tier that answers each. npm install openai
//
// Prints:
//
//     full      Prefix caching keeps the KV blocks of a prompt and ...
//     exact     Prefix caching keeps the KV blocks of a prompt and ...
//     semantic  Prefix caching keeps the KV blocks of a prompt and ...
//     kv        A block is a run of 32 tokens with the ...

import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://127.0.0.1:8420/v1", apiKey: "any" });

async function ask(messages) {
  const { data, response } = await client.chat.completions.create({ model: "demo", messages }).withResponse();
  const answer = data.choices[0].message.content;
  console.log(response.headers.get("x-twicetold-tier").padEnd(9), ...answer.split(" ").slice(0, 10), "...");
  return answer;
}

const question = { role: "user", content: "What is prefix caching?" };
const answer = await ask([question]);
await new Promise((resolve) => setTimeout(resolve, 500)); // what was asked is indexed behind the answer
await ask([question]);
await ask([{ role: "user", content: "Explain what prefix caching is." }]);
await ask([question, { role: "assistant", content: answer }, { role: "user", content: "How large is a block?" }]);
