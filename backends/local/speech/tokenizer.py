"""The checkpoint's own tokenizer and chat template."""

import json
from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

from jinja2 import TemplateError
from tokenizers import Tokenizer

from backends.chat import Fields
from backends.errors import RequestRejected
from backends.local.decoder.config import CheckpointError
from backends.local.speech.parts import CLOSING, OPENING
from backends.local.speech.tools import dialect_of

BYTE_LEVEL = "ByteLevel"
PLAIN = "TokenizersBackend"  # for checkpoints whose tokenizer.json says everything; once PreTrainedTokenizerFast
READERS = {  # of a family and the class that tokenizer_config.json names, "Fast" aside: what AutoTokenizer chooses
    **{(family, name): PLAIN for family in ("llama", "mistral", "qwen3") for name in (PLAIN, "PreTrainedTokenizer")},
    **{("qwen2", name): "Qwen2Tokenizer" for name in (PLAIN, "PreTrainedTokenizer", "Qwen2Tokenizer")},
    ("qwen3", "Qwen2Tokenizer"): "Qwen2Tokenizer",
    ("llama", "GPT2Tokenizer"): "GPT2Tokenizer",
}


class ChatTokenizer:
    """Chats to token ids, token ids to text. Safe to use from several threads.

    Encoding switches the tokenizer's handling of control tokens to and fro, so one chat is encoded at a time; decoding
    has a copy of its own.
    """

    def __init__(self, path: Path) -> None:
        """Read the tokenizer files. Raises `CheckpointError`."""
        try:
            self._tokenizer: Any = _read(path)
        except (OSError, ValueError, KeyError) as exc:
            raise CheckpointError(f"the tokenizer of {path} cannot be read: {exc}") from exc
        if self._tokenizer.chat_template is None:
            raise CheckpointError(f"{path} has no chat template; the local engine serves chat models")
        self._encoding = Lock()
        self._decoder = Tokenizer.from_str(self._tokenizer.backend_tokenizer.to_str())
        self.longest_piece = max((len(piece) for piece in self._decoder.get_vocab()), default=1)  # characters
        self._bytes_of = _byte_alphabet() if BYTE_LEVEL in repr(self._decoder.decoder) else {}
        self._added = self._decoder.get_added_tokens_decoder()
        template = _template_text(self._tokenizer.chat_template)
        self.dialect = dialect_of(template)
        self.thinks = OPENING in template and CLOSING in template

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        eos = self._tokenizer.eos_token_id
        return () if eos is None else (eos,)

    def encode_chat(self, messages: Sequence[Fields], tools: Sequence[Fields] = ()) -> list[int]:
        """Render a chat up to where the assistant speaks. Control tokens in what people wrote stay plain text.

        Raises `RequestRejected` when the template refuses the messages.
        """
        try:
            chat = [_message(message) for message in messages]
            with self._encoding:
                token_ids: list[int] = self._tokenizer.apply_chat_template(
                    chat,
                    tools=[dict(tool) for tool in tools] or None,
                    add_generation_prompt=True,
                    return_dict=False,
                    sanitize_control_tokens=True,
                )
        except (
            TemplateError,
            TypeError,
            ValueError,
            LookupError,
            AttributeError,
            RuntimeError,
        ) as exc:  # RecursionError is a RuntimeError
            raise RequestRejected(f"the model's chat template refuses the messages: {exc}", param="messages") from exc
        if not token_ids:
            raise RequestRejected("the model's chat template makes nothing of the messages", param="messages")
        return token_ids

    def encode_prompt(self, text: str) -> list[int]:
        """Tokens of a text as it stands, begun as the model's texts begin. Control tokens in it are control tokens."""
        token_ids: list[int] = self._decoder.encode(text, add_special_tokens=True).ids
        return token_ids

    def added(self, markers: Collection[str]) -> dict[str, int]:
        """Those of `markers` that have tokens of their own, beside the vocabulary that was learned."""
        return {token.content: token_id for token_id, token in self._added.items() if token.content in markers}

    def hidden(self, markers: Collection[str]) -> dict[int, str]:
        """Those of `markers` that `decode` leaves out."""
        return {i: text for text, i in self.added(markers).items() if self._added[i].special}

    def is_thinking(self, prompt: Sequence[int]) -> bool:
        """Whether a prompt ends where the model is about to think."""
        end: str = self._decoder.decode(prompt[-8:], skip_special_tokens=False)
        return self.thinks and end.rstrip().endswith(OPENING)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text as a model would say it, and the end token after it."""
        token_ids: list[int] = self._decoder.encode(text, add_special_tokens=False).ids
        return [*token_ids, *self.eos_token_ids]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of tokens, without special ones."""
        text: str = self._decoder.decode(token_ids, skip_special_tokens=True)
        return text

    def decode_all(self, token_ids: Sequence[int]) -> str:
        """Text of tokens, special ones too."""
        text: str = self._decoder.decode(token_ids, skip_special_tokens=False)
        return text

    def token_text(self, token_id: int) -> str:
        """One token as log probabilities show it."""
        text: str = self._decoder.decode([token_id], skip_special_tokens=False)
        return text

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token, which need not be whole characters."""
        piece = self._decoder.id_to_token(token_id)
        if piece is None:
            return b""
        if all(character in self._bytes_of for character in piece):
            return bytes(self._bytes_of[character] for character in piece)
        if len(piece) == 6 and piece.startswith("<0x"):  # SentencePiece's spelling of a single byte
            return bytes.fromhex(piece[3:5])
        return self.token_text(token_id).encode()


def _read(path: Path) -> Any:
    """What AutoTokenizer makes of a checkpoint. Its import brings torch, so where its choice is known, the class is
    asked itself: a gateway over an engine starts two seconds sooner."""
    config, model = _json(path / "tokenizer_config.json"), _json(path / "config.json")
    named = str(model.get("model_type")), str(config.get("tokenizer_class")).removesuffix("Fast")
    is_known = "auto_map" not in config and not any(path.glob("tekken*"))
    reader = READERS.get(named, "AutoTokenizer") if is_known else "AutoTokenizer"
    return getattr(import_module("transformers"), reader).from_pretrained(
        path, local_files_only=True, trust_remote_code=False
    )


def _json(file: Path) -> dict[str, Any]:
    read = json.loads(file.read_text("utf-8")) if file.is_file() else None
    return read if isinstance(read, dict) else {}


def _template_text(template: str | Mapping[str, str]) -> str:
    """A chat template; of several with names, all of them."""
    return template if isinstance(template, str) else "\n".join(template.values())


def _message(message: Fields) -> dict[str, Any]:
    """A message as templates expect it: text parts joined, tool arguments as objects."""
    rendered = {key: value for key, value in message.items() if value is not None}
    if isinstance(rendered.get("content"), list | tuple):
        rendered["content"] = "".join(_part_text(part) for part in rendered["content"])
    elif not rendered.get("content"):
        rendered["content"] = ""
    if rendered.get("tool_calls"):
        rendered["tool_calls"] = [_tool_call(call) for call in rendered["tool_calls"]]
    return rendered


def _part_text(part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise RequestRejected("the local engine reads text only; a message has another part", param="messages")
    return text


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call.get("function") or {})
    if isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"])
        except ValueError as exc:
            raise RequestRejected(f"the arguments of a tool call are not JSON: {exc}", param="messages") from exc
    return {**call, "function": function}


def _byte_alphabet() -> dict[str, int]:
    """The characters byte-level tokenizers spell bytes with: printable Latin-1 as itself, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    spelled = {chr(byte): byte for byte in printable}
    return spelled | {chr(0x100 + i): byte for i, byte in enumerate(others)}
