"""What kept keys and values take: growth of the engine's resident memory per published token, beside the formula."""

from backends.local.decoder import checkpoint
from backends.local.decoder.config import ModelConfig
from bench.engine.models import SMOLLM2_135M, checkpoint_of
from bench.engine.prompts import Prompts
from bench.engine.serving import Request, serving
from bench.rows import Row, Scale
from kvtier.geometry import KVGeometry

PROMPT_TOKENS = 1024  # whole blocks, but for the last token, which is not computed with the prompt's
DTYPE = "bfloat16"


def run(scale: Scale) -> list[Row]:
    """Bytes per token of many prompts kept in a pool that has room for all of them."""
    path = checkpoint_of(SMOLLM2_135M)
    prompts, count = Prompts(path), scale.of(12, 4)
    config = checkpoint.read_config(path)
    assert isinstance(config, ModelConfig)
    formula = KVGeometry(config.num_layers, config.num_kv_heads, config.head_dim, DTYPE).bytes_per_token
    with serving(path, dtype=DTYPE, kv_mb=1024, kv_disk_mb=0) as engine:
        process = engine.process()
        for number in range(-20, 0):  # whatever is allocated once, and slabs kept for a next turn up to their bound
            engine.ask(Request(prompts.plain(PROMPT_TOKENS, number).messages, 1, salt=str(number)))
        before, blocks = int(process.memory_info().rss), _blocks(engine.stats_at_rest())
        for number in range(count):
            engine.ask(Request(prompts.plain(PROMPT_TOKENS, number).messages, 1, salt=str(number)))
        after, kept = int(process.memory_info().rss), _blocks(engine.stats_at_rest()) - blocks
    assert kept >= count * (PROMPT_TOKENS // 32 - 1), kept
    note = f"{kept} blocks of 32 tokens kept, resident memory grew by {(after - before) / 1e6:.0f} MB"
    return [
        Row("memory", "bytes per kept token", (after - before) / (kept * 32), "bytes", formula, "by the shape", note)
    ]


def _blocks(stats: dict[str, dict[str, int]]) -> int:
    return stats["kv"]["blocks_cached"] + stats["kv"]["blocks_leased"]
