"""Checkpoints are found, named by their content, and refused in words that help."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.local.decoder import checkpoint
from backends.local.decoder.config import CheckpointError, ModelConfig

Checkpoints = Callable[[str], Path]
OLD_LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 4096,
}
WINDOWED_QWEN = {"model_type": "qwen2", "sliding_window": 1024, "use_sliding_window": True}


@pytest.fixture
def copy(checkpoints: Checkpoints, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoints("llama"), tmp_path / "copy"))


def test_a_directory_is_itself(checkpoints: Checkpoints) -> None:
    assert checkpoint.find(str(checkpoints("llama"))) == checkpoints("llama").resolve()


def test_a_hub_out_of_reach_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(CheckpointError, match=r"out of reach and no-org/no-model.*directory.*HF_HOME.*demo"):
        checkpoint.find("no-org/no-model")


@pytest.mark.parametrize("name", ["no-such-directory", "./org/name", "a/b/c", "/no/such"])
def test_what_is_neither_directory_nor_repository_is_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="neither a directory nor ORG/NAME"):
        checkpoint.find(name)


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(checkpoints: Checkpoints, copy: Path) -> None:
    assert checkpoint.read(copy).fingerprint == checkpoint.read(checkpoints("llama")).fingerprint


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_the_fingerprint_changes_with_every_file(name: str, copy: Path) -> None:
    before = checkpoint.read(copy).fingerprint
    content = (copy / name).read_bytes()

    (copy / name).write_bytes(content[:-1] + (b"\n" if name != "model.safetensors" else bytes([content[-1] ^ 1])))
    if name == "config.json":
        (copy / name).write_bytes(content + b" ")

    assert checkpoint.read(copy).fingerprint != before


def test_without_safetensors_there_is_nothing_to_load(copy: Path) -> None:
    (copy / "model.safetensors").unlink()

    with pytest.raises(CheckpointError, match="safetensors weights only"):
        checkpoint.read(copy)


@pytest.mark.parametrize("name", ["../other/model.safetensors", "/etc/model.safetensors", "a/b.safetensors", "..", 7])
def test_an_index_names_files_of_its_own_folder_alone(copy: Path, name: object) -> None:
    (copy.parent / "other").mkdir()
    (copy / "model.safetensors").rename(copy.parent / "other" / "model.safetensors")
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    with pytest.raises(CheckpointError, match="no files of this folder"):
        checkpoint.read(copy)


def test_a_download_cut_off_is_noticed(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"\xff" * 100)

    with pytest.raises(CheckpointError, match="cut off"):
        checkpoint.read(copy)


def test_the_authors_sampling_is_the_default(copy: Path) -> None:
    assert checkpoint.read(copy).sampling_defaults == {"temperature": 0.0}
    recommended = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "eos_token_id": [1, 2]}
    (copy / "generation_config.json").write_text(json.dumps(recommended))

    found = checkpoint.read(copy)

    assert found.sampling_defaults == {"temperature": 0.7, "top_p": 0.8, "top_k": 20}
    assert found.eos_token_ids == (1, 2)


def test_what_older_configurations_leave_out_is_filled_in() -> None:
    config = ModelConfig.from_json(OLD_LLAMA)

    assert (config.num_kv_heads, config.head_dim, config.is_head_tied) == (4, 16, False)
    assert (config.rope["rope_type"], config.rope["rope_theta"]) == ("default", 10_000.0)


def test_both_spellings_of_rope_mean_the_same() -> None:
    scaling = {"factor": 2.0}
    old = {**OLD_LLAMA, "rope_theta": 5e5, "rope_scaling": {"type": "linear", **scaling}}
    new = {**OLD_LLAMA, "rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", **scaling}}

    ropes = [ModelConfig.from_json(each).rope for each in (old, new)]

    assert [(r["rope_type"], r["rope_theta"], r["factor"]) for r in ropes] == [("linear", 5e5, 2.0)] * 2


@pytest.mark.parametrize(
    ("changes", "windows"),
    [
        ({}, (None, None)),
        ({"sliding_window": 1024}, (None, None)),  # llama knows no windows
        ({"model_type": "mistral", "sliding_window": 1024}, (1024, 1024)),
        ({"model_type": "mistral"}, (4096, 4096)),  # as transformers has it
        ({"model_type": "mistral", "sliding_window": None}, (None, None)),
        ({"model_type": "qwen2", "sliding_window": 1024, "use_sliding_window": False}, (None, None)),
        ({**WINDOWED_QWEN, "max_window_layers": 1}, (None, 1024)),
        ({**WINDOWED_QWEN, "max_window_layers": 2}, (None, None)),
        ({**WINDOWED_QWEN, "layer_types": ["sliding_attention", "full_attention"]}, (1024, None)),
    ],
)
def test_each_layer_has_the_window_transformers_gives_it(
    changes: dict[str, Any], windows: tuple[int | None, ...]
) -> None:
    config = ModelConfig.from_json({**OLD_LLAMA, **changes})

    assert config.windows == windows
    assert config.context_tokens == 4096


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "mamba"}, "'mamba' is not supported; the local engine runs llama, mistral, qwen2, qwen3"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "longrope"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial rotary"),
        ({"vocab_size": -1}, "'vocab_size' of config.json is -1, which is no size"),
        ({"intermediate_size": 0}, "'intermediate_size' of config.json is 0"),
        ({"hidden_size": "64"}, "'hidden_size' of config.json is '64'"),
        ({"head_dim": 2.5}, "'head_dim' of config.json is 2.5"),
        ({"num_key_value_heads": 3}, "4 attention heads, no multiple of its 3"),
        ({**WINDOWED_QWEN, "sliding_window": -5, "max_window_layers": 0}, "'sliding_window' of config.json is -5"),
        ({**WINDOWED_QWEN, "layer_types": ["full_attention"]}, "2 layers and 1 'layer_types'"),
    ],
)
def test_a_model_that_would_be_computed_wrongly_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        ModelConfig.from_json({**OLD_LLAMA, **changes})


@pytest.mark.parametrize(
    ("asked", "num_parameters", "flags", "dtype"),
    [
        ("auto", 10**9, {"avx512_bf16"}, "bfloat16"),
        ("auto", 10**9, {"amx_bf16"}, "bfloat16"),
        ("auto", 10**9, {"cuda"}, "bfloat16"),
        ("auto", 10**9, {"avx2", "avx512_fp16"}, "float32"),
        ("auto", 10**6, {"avx512_bf16"}, "float32"),
        ("bfloat16", 10**6, set(), "bfloat16"),
        ("float32", 10**9, {"amx_bf16"}, "float32"),
    ],
)
def test_the_precision_follows_the_processor_and_the_size(
    asked: str, num_parameters: int, flags: set[str], dtype: str
) -> None:
    assert checkpoint.choose_dtype(asked, num_parameters, frozenset(flags)) == dtype


def test_a_device_is_asked_for_by_name() -> None:
    assert "cuda" in checkpoint.abilities("cuda")
    assert checkpoint.abilities("cpu") == checkpoint.cpu_flags()
