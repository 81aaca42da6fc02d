"""The local engine: a checkpoint served from a process of its own, over prefixes kept by `kvtier`.

    gateway process                                   engine process (worker)
    backend    a chat in, deltas out                  engine/     what is computed next, and what comes of it
      params     fields -> Generation                   engine      who waits, who runs; one step after the other
      speech/    between messages and token ids         scheduler   pure: waiting, running -> StepPlan
        tokenizer  chat -> token ids                    runner      carries a plan out: slabs, kvtier, forward
        text       whole characters, stop strings       sampler     pure: logits -> token
        parts      thoughts, words, tool calls        decoder/    token ids -> logits, keys and values in slabs
      answer     events -> deltas, usage                model       Llama-like models; rope, weights, config
    process    starts, restarts, carries  <- wire ->    foreign     all others, by transformers; foreign_config

The engine knows token ids and no text; the gateway's side knows text and no tensors. `assembly` builds an engine,
`decoder/checkpoint` finds and names the files, `settings` is what an operator may choose.
"""
