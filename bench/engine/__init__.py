"""The local engine beside `transformers` and, where they can be run, llama.cpp and vLLM: `python -m bench engine`.

Each module with a `run` is a part and can be run alone (`python -m bench engine.decode`). What they share: `models`
(random weights made on the spot), `prompts` (of an exact number of tokens), `serving` (a gateway and its engine),
`plain` (transformers in this process). Every figure of ours goes through the gateway over HTTP unless its row says
otherwise; every timed request asserts how much of its prompt was cached and how many tokens it made. Two things that
are compared take turns within one run.
"""

PARTS = (
    "speed",
    "throughput",
    "ttft",
    "followup",
    "replay",
    "busy",
    "numerics",
    "memory",
    "soak",
    "drafting",
    "peers",
)
