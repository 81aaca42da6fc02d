"""Volatile text taken out of prompts: clocks, nonces and ids that make two equal requests look like two.

    rules     text -> spans that change by themselves, each with what stands there instead  (`rules.py`, `clock.py`)
    patterns  the operator's own, in RE2: linear time whatever is written                   (`patterns.py`)
    text      spans out of a text, until nothing is left to take out                        (`text.py`)
    request   which messages of a request, for its key alone or for the backend too         (`request.py`)
    caution   when a clock matters to the question, and when an answer tells what was taken out  (`caution.py`)

Off unless `[[normalise]]` says otherwise. Nothing here is ever done to the last message of the user.
"""
