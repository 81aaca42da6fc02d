"""A checkpoint on disk: found or downloaded, read, and named by what is in it."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from backends.local.decoder.config import CheckpointError, ForeignConfig, ModelConfig, objection_to, token_ids

HASHED_WHOLE_BYTES = 64 << 20  # larger weight files are hashed by header and samples
SAMPLES, SAMPLE_BYTES = 256, 4096
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
CUDA = "cuda"
SMALL_PARAMETERS = 50_000_000  # below, float32 costs little and is exact


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A directory with config.json, safetensors and tokenizer files. `fingerprint` changes with any of them."""

    path: Path
    config: ModelConfig | ForeignConfig
    fingerprint: str
    eos_token_ids: tuple[int, ...]
    sampling_defaults: Mapping[str, Any]
    num_parameters: int


def find(name: str | Path) -> Path:
    """The directory of a checkpoint: `name` itself, or ORG/NAME from the hub or its cache, with a progress bar.

    Blocks while it downloads. Raises `CheckpointError`.
    """
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # too long, of a user nobody knows, with a zero in it
        raise CheckpointError(f"{name!r} is no name of a folder: {error}") from error
    if not isinstance(name, str) or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise CheckpointError(f"{name} is neither a directory nor ORG/NAME of a Hugging Face checkpoint")
    from backends.local.decoder.hub import download  # a directory needs no hub and no client of it

    return download(name)


def read(path: Path) -> Checkpoint:
    """Read everything about a checkpoint but its weights. Raises `CheckpointError`."""
    config = read_config(path)
    weights = weight_files(path)
    generation = _json(path / "generation_config.json") or {}
    return Checkpoint(
        path=path,
        config=config,
        fingerprint=_fingerprint(path, weights),
        eos_token_ids=token_ids(generation.get("eos_token_id")) or config.eos_token_ids,
        sampling_defaults=_sampling_defaults(generation),
        num_parameters=sum(_num_parameters(file) for file in weights),
    )


def read_config(path: Path) -> ModelConfig | ForeignConfig:
    """The shape of the model, foreign when our own decoder cannot compute it. Raises `CheckpointError`."""
    config = _json(path / "config.json")
    if config is None:
        raise CheckpointError(f"{path} has no config.json")
    if objection_to(config) is None:
        return ModelConfig.from_json(config)
    from backends.local.decoder.foreign_config import read_foreign  # its imports take seconds

    return read_foreign(path, config)


def weight_files(path: Path) -> list[Path]:
    """The safetensors files, in order. Raises `CheckpointError` when there are none."""
    index = _json(path / "model.safetensors.index.json")
    names = sorted(set(index["weight_map"].values()), key=str) if index else ["model.safetensors"]
    if strange := [name for name in names if not isinstance(name, str) or Path(name).name != name or name == ".."]:
        raise CheckpointError(
            f"{path}: its index names weights that are no files of this folder, such as {strange[0]!r}"
        )
    files = [path / name for name in names]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(f"{path} has no {', '.join(missing)}; the local engine reads safetensors weights only")
    return files


def choose_dtype(asked: str, num_parameters: int, abilities: frozenset[str]) -> str:
    """'float32' or 'bfloat16': bfloat16 where the device computes in it and the model is not tiny.

    Never float16, which no processor computes in as fast: a checkpoint stored in it is cast.
    """
    if asked != "auto":
        return asked
    has_bf16 = bool(abilities & {"avx512_bf16", "amx_bf16", CUDA})
    return "bfloat16" if has_bf16 and num_parameters >= SMALL_PARAMETERS else "float32"


def abilities(device: str) -> frozenset[str]:
    """What can be told of a device, 'auto', 'cpu' or 'cuda', without torch, which the gateway process does without."""
    is_cuda = device == "cuda" or (device == "auto" and NVIDIA_DRIVER.exists())
    return cpu_flags() | {CUDA} if is_cuda else cpu_flags()


def cpu_flags() -> frozenset[str]:
    """What the processor says it can do; nothing where /proc does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


def _sampling_defaults(generation: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's names for what the checkpoint's authors recommend; greedy when they do not sample."""
    defaults: dict[str, Any] = {"temperature": 0.0}
    if generation.get("do_sample"):
        defaults["temperature"] = generation.get("temperature") or 1.0
        defaults |= {key: generation[key] for key in ("top_p", "top_k", "min_p") if generation.get(key) is not None}
    if generation.get("repetition_penalty"):
        defaults["repetition_penalty"] = generation["repetition_penalty"]
    return defaults


def _fingerprint(path: Path, weights: Sequence[Path]) -> str:
    """32 hex digits over configuration, tokenizer and weights; names count, the directory does not."""
    small = [f for f in path.iterdir() if f.suffix in (".json", ".jinja", ".txt", ".model") and f.is_file()]
    digest = blake2b(digest_size=16, person=b"checkpoint")
    for file in sorted(small) + sorted(weights):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        for piece in _pieces(file):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(file: Path) -> Iterator[bytes]:
    """The whole file, or of a large one its header and samples spread evenly over it."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= HASHED_WHOLE_BYTES:
            while piece := stream.read(1 << 20):
                yield piece
            return
        yield stream.read(_header_bytes(file) + 8)
        for i in range(SAMPLES):
            stream.seek((size - SAMPLE_BYTES) * i // (SAMPLES - 1))
            yield stream.read(SAMPLE_BYTES)


def _num_parameters(file: Path) -> int:
    with file.open("rb") as stream:
        stream.seek(8)
        header = json.loads(stream.read(_header_bytes(file)))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _header_bytes(file: Path) -> int:
    """Length of the JSON that opens a safetensors file after its eight length bytes."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    if not 2 <= length <= file.stat().st_size - 8:
        raise CheckpointError(f"{file.name} is not a safetensors file, or its download was cut off")
    return length


def _json(file: Path) -> Any:
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_bytes())
    except ValueError as exc:
        raise CheckpointError(f"{file.name} is not JSON: {exc}") from exc
