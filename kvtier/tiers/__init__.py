"""Colder places for what RAM cannot hold or would lose: disk, then Redis, behind one small protocol (`base.Tier`).

    publish / match  ->  WriteBehind  ->  one writer thread per tier  ->  Tier.save
    prefetch         ->  Tier.find    ->  gate: load or recompute?    ->  Tier.load  ->  rows for the slab

What travels is a segment (`segment.py`): up to eight blocks side by side with everything needed to verify them.
"""
