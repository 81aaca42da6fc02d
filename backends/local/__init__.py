"""The local engine: a checkpoint served from a process of its own, over prefixes kept by `kvtier`.

    gateway process                                   engine process (worker)
    backend    a chat in, deltas out                  engine      who waits, who runs; one step after the other
      params     fields -> Generation                   scheduler   pure: waiting, running -> StepPlan
      tokenizer  chat -> token ids                      runner      carries a plan out: slabs, kvtier, forward
      answer     events -> deltas, usage                  decoder     token ids -> logits, keys and values in slabs
        text       whole characters, stop strings           model       Llama-like models; rope, weights, config
    process    starts, restarts, carries  <- wire ->        foreign     all others, by transformers; foreign_config
                                                          sampler     pure: logits -> token
                                                        sequence    one choice: token ids, how far they are computed

The engine knows token ids and no text; the gateway's side knows text and no tensors. `assembly` builds an engine,
`checkpoint` finds and names the files, `settings` is what an operator may choose.
"""
