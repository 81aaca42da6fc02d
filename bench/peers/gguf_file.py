"""`python -m bench.peers.gguf_file CHECKPOINT FILE`: a Llama or Qwen2 checkpoint as GGUF in bfloat16.

llama.cpp's own converter knows tokenizers by the hash of what they make of a text and refuses others; this writes the
vocabulary as it is. Llama's queries and keys are permuted, because llama.cpp rotates neighbours and not halves.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from safetensors import safe_open

_PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_NORMAL, _CONTROL = 1, 3  # kinds of tokens


def main(checkpoint: Path, file: Path) -> None:
    """Write the file."""
    gguf: Any = import_module("gguf")
    config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    writer = gguf.GGUFWriter(file, config["model_type"])
    _describe(writer, config, gguf)
    _write_vocabulary(writer, checkpoint)
    with safe_open(str(checkpoint / "model.safetensors"), framework="pt") as tensors:
        for name in sorted(tensors.keys()):
            _write_tensor(writer, gguf, config, name, tensors.get_tensor(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: Any, config: dict[str, Any], gguf: Any) -> None:
    heads = config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)


def _write_vocabulary(writer: Any, checkpoint: Path) -> None:
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text("utf-8"))
    vocabulary: dict[str, int] = dict(tokenizer["model"]["vocab"])
    special = {token["content"] for token in tokenizer["added_tokens"]}
    vocabulary.update({token["content"]: token["id"] for token in tokenizer["added_tokens"]})
    pieces = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(pieces)
    writer.add_token_types([_CONTROL if piece in special else _NORMAL for piece in pieces])
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    )
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)


def _write_tensor(writer: Any, gguf: Any, config: dict[str, Any], name: str, tensor: Any) -> None:
    if config["model_type"] == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
        heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
        rows, columns = tensor.shape
        tensor = tensor.view(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)
    values = tensor.float().numpy()
    if values.ndim == 1:
        writer.add_tensor(_name(name), values)
        return
    kind = gguf.GGMLQuantizationType.BF16
    writer.add_tensor(_name(name), gguf.quants.quantize(values, kind), raw_dtype=kind)


def _name(name: str) -> str:
    """What llama.cpp calls a tensor."""
    known = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in known:
        return known[name]
    _, _, layer, *part, kind = name.split(".")
    return f"blk.{layer}.{_PARTS['.'.join(part)]}.{kind}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
