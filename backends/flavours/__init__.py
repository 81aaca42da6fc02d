"""Every kind of server there is a flavour for."""

from backends.flavours.anthropic.flavour import ANTHROPIC
from backends.flavours.azure import AZURE
from backends.flavours.engines import LLAMACPP, SGLANG, TWICETOLD, VLLM
from backends.flavours.openai import DEEPSEEK, GEMINI, MISTRAL, OLLAMA, OPENAI

FLAVOURS = {
    flavour.name: flavour
    for flavour in (
        OPENAI, AZURE, ANTHROPIC, GEMINI, DEEPSEEK, MISTRAL, VLLM, SGLANG, LLAMACPP, OLLAMA, TWICETOLD,
    )
}  # fmt: skip
