"""Conditions on a dead letter's order, as an operator writes them: `price * quantity > 400 and not gift`.

To read: conditions (the way in, and the grammar), words, translation (into Python's grammar, word by word),
tree (functions of what Python's parser makes of it), comparing, calculating, terms (what all of them use).
"""
