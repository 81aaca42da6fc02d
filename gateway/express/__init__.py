"""The express road of exact hits: a request that is byte for byte one that was a hit lately is answered from prepared
bytes, inside the connection. No task, no ASGI, no await; whatever is not as it was goes the whole road.

    reading    pure: the bytes of a request, without the headers that decide nothing
    prepared   pure: an answer in pieces, joined anew for each response
    table      what is known, under a budget of bytes
    grounds    what has to hold still, asked at every hit
    debts      what a hit owes the ledger and others, paid for many at once
    express    all of it together: `answer`, `learn`, `settle`, `forget`
"""
