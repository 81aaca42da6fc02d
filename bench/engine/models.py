"""Checkpoints to measure with: random weights of well-known shapes, made once and kept in `bench/out/models`.

The tokenizer is the demo model's, its vocabulary filled up to the shape's with pieces that no text is cut into:
whatever token random weights choose has a text, so the first token of a stream can be seen. That text is seldom read
back as the tokens it came from, as a real model's is: the weights called TALKING say whole words only, whose text is.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from backends.local.demo import checkpoint_path
from bench.processes import ROOT

FOLDER = ROOT / "bench" / "out" / "models"
CONTEXT_TOKENS = 16384
SMOLLM2_135M = "smollm2-135m"
TALKING = "smollm2-135m-talking"
QWEN25_500M = "qwen2.5-0.5b"
DEMO = "demo"

_SMOLLM2 = {
    "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "rms_norm_eps": 1e-5,
    "rope_theta": 100_000.0,
}  # fmt: skip
SHAPES: Mapping[str, dict[str, Any]] = {
    SMOLLM2_135M: _SMOLLM2,
    TALKING: _SMOLLM2,
    QWEN25_500M: {
        "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936, "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
    },
}  # fmt: skip
LOUDNESS = 4.0  # of a word's logit: the likeliest of two thousand words is then above whatever else there is
_COMMON: dict[str, Any] = {
    "max_position_embeddings": CONTEXT_TOKENS,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
}


def checkpoint_of(name: str) -> Path:
    """The checkpoint of a shape, or the demo model's; made when it is not there yet."""
    if name == DEMO:
        return checkpoint_path()
    path = FOLDER / name
    if not path.is_dir():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            made = Path(folder) / name
            _make(made, SHAPES[name], only_words=name == TALKING)
            made.rename(path)
    return path


def _make(path: Path, shape: dict[str, Any], *, only_words: bool) -> None:
    torch, library = import_module("torch"), import_module("transformers")
    torch.manual_seed(0)
    config = library.AutoConfig.for_model(**{**shape, **_COMMON})
    model = library.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    if only_words:
        with torch.no_grad():
            model.get_input_embeddings().weight[_words()] *= LOUDNESS  # the head too: they are tied
    model.save_pretrained(path)
    for file in checkpoint_path().iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            shutil.copy(file, path / file.name)
    fill_up(path / "tokenizer.json", shape["vocab_size"])
    about = json.loads((path / "tokenizer_config.json").read_text("utf-8"))
    about["model_max_length"] = CONTEXT_TOKENS
    (path / "tokenizer_config.json").write_text(json.dumps(about, indent=2), "utf-8")


def _words() -> list[int]:
    """Tokens that are a blank and letters: any row of them is read back as itself."""
    tokenizer = json.loads((checkpoint_path() / "tokenizer.json").read_text("utf-8"))
    pieces: dict[str, int] = tokenizer["model"]["vocab"]
    return [token_id for piece, token_id in pieces.items() if re.fullmatch("\u0120[a-z]+", piece)]


def fill_up(file: Path, size: int) -> None:
    """Add pieces that no merge leads to, up to `size`."""
    tokenizer = json.loads(file.read_text("utf-8"))
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    added = {token["content"] for token in tokenizer["added_tokens"]}
    for token_id in range(len(added | set(vocabulary)), size):
        vocabulary[f"\u0120#{token_id}"] = token_id  # a leading blank, as byte-level vocabularies write it
    file.write_text(json.dumps(tokenizer, ensure_ascii=False), "utf-8")
