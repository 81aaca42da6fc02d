#!/usr/bin/env bash
# One question in four ways, and the tier that answers each, with nothing but curl.
#
# Prints:
#
#     x-twicetold-tier: full
#     x-twicetold-tier: exact
#     x-twicetold-tier: semantic
#     x-twicetold-tier: kv

set -euo pipefail

ask() {
  curl -sS -D - -o /dev/null http://127.0.0.1:8420/v1/chat/completions \
    -H 'Authorization: Bearer any' -H 'Content-Type: application/json' \
    -d "{\"model\": \"demo\", \"messages\": [$1]}" | grep '^x-twicetold-tier' | tr -d '\r'
}

question='{"role": "user", "content": "What is prefix caching?"}'
answer='{"role": "assistant", "content": "Prefix caching keeps the KV blocks of a prompt and reuses them when another prompt begins with the same tokens."}'

ask "$question"
sleep 0.5 # what was asked is indexed behind the answer
ask "$question"
ask '{"role": "user", "content": "Explain what prefix caching is."}'
ask "$question, $answer, {\"role\": \"user\", \"content\": \"How large is a block?\"}"
