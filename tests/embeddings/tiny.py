"""Tiny checkpoints in the form sentence-transformers publishes them, with weights by chance.

Words decide, layers hardly count: such a model tells texts apart by the words they share, which is all that loading,
tokens and arithmetic need to be tested by. The tokenizer is a sentencepiece unigram, as XLM-R and its children have it.
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from embeddings.runtime.agreement import TEXTS
from embeddings.selftest import DIFFERENT, SAME

MARKS = ["<s>", "<pad>", "</s>", "<unk>"]
LATIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789?.,:()+'!"
HAN = "打开关闭深色模式什么是缓存的"
WIDTH = 32


def checkpoint(
    folder: Path, *, body: str = "bert", pooling: str = "mean", act: str = "gelu", letters: str = LATIN + HAN
) -> str:
    """Write one; returns the folder."""
    tokenizer = unigram(letters)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>",
        unk_token="<unk>", pad_token="<pad>", model_max_length=64,
    ).save_pretrained(folder)  # fmt: skip
    shape: dict[str, Any] = {
        "vocab_size": tokenizer.get_vocab_size(), "hidden_size": WIDTH, "num_hidden_layers": 2, "hidden_act": act,
        "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 80, "pad_token_id": 1,
    }  # fmt: skip
    torch.manual_seed(0)
    model = BertModel(BertConfig(**shape)) if body == "bert" else XLMRobertaModel(XLMRobertaConfig(**shape))
    torch.nn.init.normal_(model.embeddings.word_embeddings.weight)
    for layer in model.encoder.layer:  # as loud as a trained one, so that a wrong step shows
        for part in (layer.attention.self.query, layer.attention.self.key, layer.intermediate.dense):
            torch.nn.init.normal_(part.weight, std=0.2)
    if pooling == "cls":  # the first token is to gather what the others say
        first = model.encoder.layer[0].attention
        torch.nn.init.zeros_(first.self.query.weight)
        for part in (first.self.value, first.output.dense):
            part.weight.data = 4 * torch.eye(WIDTH)
    model.save_pretrained(folder)
    parts = (("", "Transformer"), ("1_Pooling", "Pooling"))
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(parts)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64, "do_lower_case": False}))
    (folder / "1_Pooling").mkdir()
    modes = {"pooling_mode_mean_tokens": pooling == "mean", "pooling_mode_cls_token": pooling == "cls"}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": WIDTH, **modes}))
    return str(folder)


def unigram(letters: str) -> Tokenizer:
    """Every word of the texts that embedders are tried on, and single letters for all others."""
    said = " ".join([*TEXTS, *(text for pair in (*SAME, *DIFFERENT) for text in pair)])
    words = sorted({f"▁{word.strip('?.,:()')}" for word in said.split()} - {"▁"})
    pieces = [(mark, 0.0) for mark in MARKS] + [("▁", -3.0)]
    pieces += [(word, -4.0) for word in words] + [(letter, -6.0) for letter in letters]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=MARKS.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer
