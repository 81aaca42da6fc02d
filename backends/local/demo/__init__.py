"""The bundled demo model: a few megabytes of Llama that answer questions about LLM caching.

corpus/*.toml     the questions in several wordings, their answers, and questions about anything else
train.py          text -> tokenizer and weights -> checkpoint/
evaluate.py       what the checkpoint knows, in numbers
checkpoint/       a plain Hugging Face Llama checkpoint, read by the engine like any other
"""

from pathlib import Path


def checkpoint_path() -> Path:
    """The folder of the shipped checkpoint, for `--model` and for the engine's default."""
    return Path(__file__).parent / "checkpoint"
