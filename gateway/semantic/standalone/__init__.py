"""The looser mode for conversations: a last turn that stands alone may share its answer although histories differ.

Strict, a question meets only entries of the very same history. Here two last turns meet when all but the words of their
histories agrees (scope, system prompt, model, tools, sampling, form of answer), and are served when both agree, each
with guards, verifier and the lane's verdict: the last turns, and what a rewriter makes of them, which stands alone.

    talk       a conversation in which all is text: what has to agree, the history, the last turn
    rules      the rewriter that needs no model: takes a last turn as it is, or says it cannot
    model      the rewriter that asks a model
    looser     finds stored conversations, and decides in a lane of its own
"""
