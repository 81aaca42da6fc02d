"""What the test upstream says: deterministic answers in OpenAI's JSON, whole or in chunks."""

from array import array
from base64 import b64encode
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

WORDS = ("cache", "block", "prefix", "token", "answer", "layer", "你好", "mémoire", "naïve", "chain", "root", "tier")
TOOL_ARGUMENTS = '{"city": "Zürich", "days": 3}'


@dataclass(frozen=True, slots=True)
class Answer:
    """The one answer to `body`. `flavour`: tools, reasoning, refusal, no-usage, length, one-choice, echo, or none."""

    body: dict[str, Any]
    flavour: str = ""
    text: str = ""  # instead of words chosen by the question

    @property
    def id(self) -> str:
        return "chatcmpl-" + self._digest(0).hex()[:24]

    @property
    def num_tokens(self) -> int:
        return len(self.tokens(0))

    def tokens(self, choice: int) -> list[str]:
        """The text of a choice in pieces, the same for the same messages."""
        if self.flavour == "echo" or self.text:
            return [self.text or str(self.body["messages"])]
        if self.flavour in ("tools", "refusal"):
            return []
        return [f"{'' if i == 0 else ' '}{WORDS[byte % len(WORDS)]}" for i, byte in enumerate(self._digest(choice))]

    def completion(self) -> dict[str, Any]:
        whole = {"id": self.id, "object": "chat.completion", "created": 1, "model": self.body.get("model")}
        choices = [
            {
                "index": i,
                "message": self._message(i),
                "logprobs": self._logprobs(self.tokens(i)),
                "finish_reason": self._finish,
            }
            for i in range(self._n)
        ]
        usage = {} if self.flavour == "no-usage" else {"usage": self.usage()}
        return {**whole, "choices": choices, **usage, "service_tier": "default", "system_fingerprint": "fp_test"}

    def chunks(self) -> list[dict[str, Any]]:
        """The same, streamed: the choices take turns, as a real server's do."""
        options = self.body.get("stream_options") or {}
        per_choice = [self._deltas(i) for i in range(self._n)]
        longest = max(len(deltas) for deltas in per_choice)
        choices = [
            {"index": i, "finish_reason": None, "logprobs": None, **deltas[turn]}
            for turn in range(longest)
            for i, deltas in enumerate(per_choice)
            if turn < len(deltas)
        ]
        chunks = [{**self._envelope(), "choices": [choice]} for choice in choices]
        if options.get("include_usage") and self.flavour != "no-usage":
            chunks = [{**chunk, "usage": None} for chunk in chunks]
            chunks.append({**self._envelope(), "choices": [], "usage": self.usage()})
        return chunks

    def usage(self) -> dict[str, Any]:
        prompt, completion = (
            len(str(self.body.get("messages")).split()),
            sum(len(self.tokens(i)) for i in range(self._n)),
        )
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }

    @property
    def _n(self) -> int:
        return 1 if self.flavour == "one-choice" else int(self.body.get("n") or 1)

    @property
    def _finish(self) -> str:
        return {"tools": "tool_calls", "length": "length"}.get(self.flavour, "stop")

    def _digest(self, choice: int) -> bytes:
        return blake2b(f"{choice} {self.body.get('messages')}".encode(), digest_size=12).digest()

    def _envelope(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": 1,
            "model": self.body.get("model"),
            "service_tier": "default",
            "system_fingerprint": "fp_test",
        }

    def _message(self, choice: int) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self.tokens(choice)) or None,
            "refusal": None,
        }
        if self.flavour == "tools":
            message["tool_calls"] = [
                {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": TOOL_ARGUMENTS}}
                for i, name in enumerate(("weather", "time"))
            ]
        if self.flavour == "reasoning":
            message["reasoning_content"] = "let me think"
        if self.flavour == "refusal":
            message["refusal"] = "I cannot say"
        return message

    def _deltas(self, choice: int) -> list[dict[str, Any]]:
        message = self._message(choice)
        first = {"role": "assistant", "content": None if message["content"] is None else "", "refusal": None}
        deltas: list[dict[str, Any]] = [{"delta": first}]
        for key in ("reasoning_content", "refusal"):
            deltas += [{"delta": {key: piece}} for piece in _pieces(message.get(key) or "")]
        deltas += [{"delta": {"content": token}, "logprobs": self._logprobs([token])} for token in self.tokens(choice)]
        for index, call in enumerate(message.get("tool_calls", ())):
            head = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
            deltas.append({"delta": {"tool_calls": [head]}})
            deltas += [
                {"delta": {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}}
                for piece in _pieces(TOOL_ARGUMENTS)
            ]
        return [*deltas, {"delta": {}, "finish_reason": self._finish}]

    def _logprobs(self, tokens: list[str]) -> dict[str, Any] | None:
        if not self.body.get("logprobs"):
            return None
        content = [{"token": t, "logprob": -0.5, "bytes": list(t.encode()), "top_logprobs": []} for t in tokens]
        return {"content": content, "refusal": None}


def _pieces(text: str, size: int = 4) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def error_body(status: int, headers: dict[str, str], *, code: bool = False) -> dict[str, Any]:
    """OpenAI's error object; a refused key is quoted, as real servers do."""
    error: dict[str, Any] = {
        "message": f"status {status} as told",
        "type": "test_error",
        "param": None,
        "code": "told_so",
    }
    if status == 401:
        error["message"] = f"Incorrect API key provided: {headers.get('authorization')}"
    if status == 404:
        error |= {"message": "The model does not exist", "param": "model", "code": "model_not_found"}
    if code:
        error["code"] = status
    return {"error": error}


def fast_bodies() -> tuple[bytes, bytes]:
    """The whole answer and the event stream that the `fast` mode sends to everybody."""
    answer = Answer({"model": "fast", "messages": "fast", "stream_options": {"include_usage": True}})
    events = b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in answer.chunks())
    return orjson.dumps(answer.completion()), events + b"data: [DONE]\n\n"


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's embeddings: of every item a vector of its own, three tokens each. Items come in any order."""
    items = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = []
    for index, item in enumerate(items):
        raw = blake2b(repr(item).encode(), digest_size=32).digest()[: body.get("dimensions") or 4]
        vector = array("f", [byte / 255 for byte in raw])
        said = b64encode(vector.tobytes()).decode() if body.get("encoding_format") == "base64" else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": said})
    usage = {"prompt_tokens": 3 * len(items), "total_tokens": 3 * len(items)}
    return {"object": "list", "data": data[::-1], "model": body["model"], "usage": usage}
