"""The tokenizer: byte-level BPE learnt on the corpus, so any text encodes, and the chat template that goes with it."""

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from backends.local.demo.dialogs import ASSISTANT, END, SPECIAL_TOKENS, SYSTEM, USER
from backends.local.demo.questions import DEFAULT_SYSTEM

# A question is read in lower case and after a space, so that a word is the same token wherever it stands: a model of
# this size cannot learn every spelling of a word. A turn is its role token, its text, and the end token, with nothing
# between turns: what was generated is, token for token, what the next request renders, so every earlier turn can be
# resumed from its keys and values.
CHAT_TEMPLATE = (
    "{%- macro text(content) -%}"
    "{%- if content is string -%}{{ content }}"
    "{%- elif content -%}{%- for part in content if part.type == 'text' -%}{{ part.text }}{%- endfor -%}"
    "{%- endif -%}"
    "{%- endmacro -%}"
    "{%- if not messages or messages[0].role not in ['system', 'developer'] -%}"
    "{{ '" + SYSTEM + DEFAULT_SYSTEM.replace("'", "\\'") + END + "' }}"
    "{%- endif -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'assistant' -%}{{ '" + ASSISTANT + "' }}"
    "{{ text(message.content) }}"
    "{%- elif message.role in ['system', 'developer'] -%}{{ '" + SYSTEM + "' }}{{ text(message.content) }}"
    "{%- else -%}{{ '" + USER + " ' }}{{ text(message.content) | lower | trim }}"
    "{%- endif -%}"
    "{{ '" + END + "' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '" + ASSISTANT + "' }}{%- endif -%}"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn merges on `texts`; all 256 bytes and the special tokens are in the vocabulary."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def as_transformers(tokenizer: Tokenizer, max_tokens: int) -> Any:
    """The same tokenizer as transformers saves and loads it."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END,
        chat_template=CHAT_TEMPLATE,
        model_max_length=max_tokens,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
