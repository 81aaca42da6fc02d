"""The local engine beside llama.cpp and vLLM where they are given, as briefly as `make bench` may be.

One shape in bfloat16 and one round of each, a smoke test's worth: `python -m bench engine.peers` is the measurement.
"""

from bench.engine.models import SMOLLM2_135M
from bench.engine.peers import PAIRS, beside
from bench.rows import Row, Scale

BRIEF = ("llama.cpp BF16", "vLLM")


def run(_: Scale) -> list[Row]:
    """A row for each that says why it was skipped, or its figures."""
    return [row for name in BRIEF for row in beside(SMOLLM2_135M, name, PAIRS[name], Scale(quick=True))]
