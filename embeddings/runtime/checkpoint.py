"""A model as sentence-transformers publishes it, read from its folder without that library.

Only what our own forward computes: one body, one pooling, a fast tokenizer, weights in float32 in one file. All else is
`Unsuited`. The digest is the one that the library's road gives the same weights, so vectors of both meet.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from embeddings.runtime.forward import Pooling, Unsuited, check_config
from embeddings.runtime.tokens import Tokens

KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
_POOLINGS: dict[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
_NO_WEIGHTS = "embeddings.position_ids"  # 0, 1, 2, ...: older files have them
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where float32 numbers lie in the file."""

    shape: tuple[int, ...]
    start: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model that our own forward may compute."""

    weights: Path  # no link: what a hub's cache has is one
    tensors: Mapping[str, Tensor]
    config: Any
    pooling: Pooling
    tokens: Tokens

    @property
    def width(self) -> int:
        return int(self.config.hidden_size)

    def digest(self) -> str:
        """A name for the weights and the vocabulary; reads the whole file once."""
        digest = blake2b(self.tokens.to_str().encode(), digest_size=16)
        with self.weights.open("rb") as file:
            for name, tensor in sorted(self.tensors.items()):
                digest.update(f"0.model.{name}:{tensor.shape}:torch.float32".encode())
                file.seek(tensor.start)
                left = tensor.size_bytes
                while left and (data := file.read(min(left, _MIB))):
                    digest.update(data)
                    left -= len(data)
        return digest.hexdigest()


def read_checkpoint(folder: Path) -> Checkpoint:
    """The model in a folder. Raises `Unsuited`."""
    try:
        modules = {str(one["type"]).rpartition(".")[2]: folder / one["path"] for one in _read(folder / "modules.json")}
        check_modules(list(modules))
        body = modules["Transformer"]
        told = _read(body / "sentence_bert_config.json")
        if told.get("do_lower_case"):
            raise Unsuited("it lowers case before its tokenizer")
        prompts = folder / "config_sentence_transformers.json"
        if prompts.exists() and _read(prompts).get("default_prompt_name"):
            raise Unsuited("it puts words of its own before every text")
        config = SimpleNamespace(**_read(body / "config.json"))
        check_config(config)
        weights = (body / "model.safetensors").resolve(strict=True)
        return Checkpoint(
            weights,
            dict(_tensors(weights)),
            config,
            _pooling(_read(modules["Pooling"] / "config.json")),
            _tokens(body, int(told["max_seq_length"])),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as exc:
        raise Unsuited(f"its folder is not as ours reads one: {exc!r}") from exc


def check_modules(kinds: list[str]) -> None:
    """Raise `Unsuited` unless ours know all of these parts."""
    if kinds[:2] != list(KNOWN_MODULES[:2]) or kinds[2:] not in ([], [KNOWN_MODULES[2]]):
        raise Unsuited(f"its modules are {', '.join(kinds)}")


def _tensors(weights: Path) -> Iterator[tuple[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="numpy"):  # checks that all lies within the file, and nothing on another
            pass
    except SafetensorError as exc:
        raise Unsuited(f"its weights cannot be read: {exc}") from exc
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    for name, told in header.items():
        if name in ("__metadata__", _NO_WEIGHTS):
            continue
        if told["dtype"] != "F32":
            raise Unsuited(f"its {name} is {told['dtype']}")
        start, end = told["data_offsets"]
        yield name, Tensor(tuple(told["shape"]), 8 + length + start, end - start)


def _tokens(body: Path, max_tokens: int) -> Tokens:
    from tokenizers import Tokenizer

    told = _read(body / "tokenizer_config.json")
    names = {part: _name(told.get(f"{part}_token")) for part in ("cls", "sep", "bos", "eos", "unk")}
    unknown = names.pop("unk")
    fast = Tokenizer.from_file(str(body / "tokenizer.json"))
    marks = {number for name in names.values() if name and (number := fast.token_to_id(name)) is not None}
    return Tokens(fast, max_tokens, marks, fast.token_to_id(unknown) if unknown else None)


def _name(token: Any) -> str | None:
    """A token by its text; older files have it with how it is stripped."""
    return token.get("content") if isinstance(token, dict) else token


def _pooling(told: dict[str, Any]) -> Pooling:
    modes = [told["pooling_mode"]] if "pooling_mode" in told else [
        _POOLINGS.get(name, name) for name, is_on in told.items() if name.startswith("pooling_mode_") and is_on is True
    ]  # fmt: skip
    match modes:
        case ["mean"]:
            return "mean"
        case ["cls"]:
            return "cls"
        case _:
            raise Unsuited(f"its pooling is {'+'.join(map(str, modes))}")


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())
