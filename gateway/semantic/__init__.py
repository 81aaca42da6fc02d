"""The semantic tier: has this question been answered in other words, and how sure is that?

tier         find: question -> bare form, else reading -> neighbours -> lane -> serve, shadow or pass
search       neighbours by bare form and by meaning, each looked up in the store
wordings     stored questions by their bare form, which needs no embedder
kept_readings  what the embedder made of stored questions, so that a lookup embeds its own alone
vectors      the index of stored questions, kept true to the store: agreement says whether it is
lanes        by tenant and route: the state that labels make (`embeddings.control` decides); held is one of them
labels       every comparison, in a SQLite file: they outlive the process
learning     fresh answers beside stored ones: comparing (words, vectors, guards), judge, promotion to aliases
commonplaces answers that anything gets, which say nothing of two questions
learner      fits a verifier to the labels of a lane, behind everybody's back; refit is its process, shelf its files
verifiers    which one a lane is given. minds: the fitted one beside everybody's; second_look: a cross-encoder behind
found        the values that pass between these; rule: whose traffic a lane is, and what is allowed it
changes      of modes and targets, while the server runs
thresholds   lanes as the operator sees and changes them; figures: the same for stats and metrics
"""
