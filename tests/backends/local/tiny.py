"""Tiny random checkpoints of several families, with a real tokenizer and chat template, made on the spot."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant', 'tool'] %}"
    "{{ raise_exception('unknown role ' + message['role']) }}"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
TEXTS = (
    "A cache keeps what was computed so that it need not be computed again.",
    "Der Schlüssel passt nicht ins Schloß; 缓存命中率很高。 Кэш 🙂 works across turns.",
    "A block of thirty-two tokens is named by a chain of hashes rooted in a secret.",
) * 4
SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "initializer_range": 0.3,  # wide logits: no two of them tie
    "bos_token_id": None,
    "pad_token_id": None,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN_ROPE = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 256}
FAMILIES = ("llama", "qwen2", "qwen3", "mistral")
WINDOW = 48  # tokens a token of our mistral sees: less than a chunk
FOREIGN: dict[str, dict[str, Any]] = {  # families that transformers computes, with what they are told beyond SHAPE
    "gpt_neox": {},
    "gpt2": {"max_position_embeddings": 512},
    "phi3": {},
    "gemma": {"head_dim": 32, "num_key_value_heads": 1},
    "olmo2": {},
    "bloom": {},
    "mixtral": {"num_local_experts": 4},
}


def build(family: str, path: Path, *, seed: int = 0, **overrides: Any) -> Path:
    """Write a random checkpoint of `family` to `path`."""
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(path)
    torch.manual_seed(seed)
    own = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    model = _model(family, {**SHAPE, **own, **FOREIGN.get(family, {}), **overrides})
    _shake(model)
    model.save_pretrained(path, safe_serialization=True)
    return path


def _model(family: str, shape: dict[str, Any]) -> Any:
    if family == "llama":
        return LlamaForCausalLM(LlamaConfig(**shape))
    if family == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**{k: v for k, v in shape.items() if k != "head_dim"}))
    if family == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**shape, tie_word_embeddings=True))
    if family == "mistral":
        return MistralForCausalLM(MistralConfig(**{"sliding_window": WINDOW, **shape}))
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **shape))


def _shake(model: Any) -> None:
    """Give biases and norms values of their own: a fresh model has zeros and ones, which would hide a mistake."""
    for name, parameter in model.named_parameters():
        if name.endswith(".bias") or "norm" in name:
            parameter.data += 0.2 * torch.randn_like(parameter)


def _tokenizer() -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=512, special_tokens=list(SPECIAL), initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=TEMPLATE,
    )
