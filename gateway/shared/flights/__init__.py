"""Identical requests share one generation across gateways on one Redis.

shared     from claim to delta: lead, or follow who leads; what the pipeline calls
leases     who generates: a lease with a fencing token, decided inside Redis
leading    a generation of ours: it has riders here and listeners elsewhere, and ends with the last of both
following  a generation of another replica, as it is told; and what to make of its silence
seam       where one generation is continued by another, in the middle of an answer
words      what replicas tell each other, as bytes that nobody else can write
post       the letter boxes in Redis, one for each replica
"""
