"""Does anything cross from one scope into another? Random pairs of requests, each watched for its asker's mark.

Whoever asks is known to the model by a mark that never passes through the gateway: a context variable of the task that
asks. What the model says holds the mark of who had it generate, so an answer with another's mark has crossed, whichever
tier it came from; and the mark is the oracle of this bench, made without any of the gateway's own arithmetic.
"""
