"""What holds for every test."""

import os

# The matrices here are tiny: with a thread for every core they spend most of their time waiting for each other, and an
# eigh of 384 by 384 takes ten times as long on a busy machine. Read when numpy and torch are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
