"""The semantic tier: has this question been answered in other words, and how sure is that?

tier         find: question -> reading -> neighbours -> lane -> serve, shadow or pass; what comes back as labels
vectors      the index of stored questions, kept true to the store
lanes        by tenant and route: mode, target, and the state that labels make (embeddings/control decides)
labels       every comparison, in a SQLite file: they outlive the process
comparing    does a fresh answer say what a stored one says?
judge        a model that is asked where words and vectors do not tell
promotion    a question found answered becomes another name of the stored answer
learner      fits the verifier to the labels of a lane, behind everybody's back
"""
