"""Where prompts that could share a prefix first differ, and what that costs.

    prompt    a request as bytes, in the order in which engines read it                (`prompt.py`)
    parting   two prompts: where they part, and how far they are one again behind that (`parting.py`)
    kinds     what stands there: a clock, a nonce, an id, other words                  (`kinds.py`)
    watch     the last prompts of every tenant and model, and what was found in them   (`watch.py`)
    report    findings in order of cost, with a line of advice each                    (`report.py`)

Online from what is sent to backends, behind the answers; offline from a log (`offline.py`, `twicetold prefixes --log`).
Token counts are bytes / 4, which is near enough for English and for Chinese.
"""
