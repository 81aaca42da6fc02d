"""The semantic tier: has this question been answered in other words, and how sure is that?

tier         find: question -> bare form, else reading -> neighbours -> lane -> serve, shadow or pass
wordings     stored questions by their bare form, which needs no embedder
vectors      the index of stored questions, kept true to the store
lanes        by tenant and route: mode, target, and the state that labels make (`embeddings.control` decides)
labels       every comparison, in a SQLite file: they outlive the process
learning     fresh answers beside stored ones: comparing (words, vectors, guards), judge, promotion to aliases
learner      fits a verifier to the labels of a lane, behind everybody's back; refit is its process, shelf its files
minds        the fitted one beside everybody's; twice: a cross-encoder behind that
thresholds   lanes as the operator sees and changes them; figures: the same for stats and metrics
"""
