"""Jinja2 templates of the emitted scripts and of the model card; data only.

train.py.j2, evaluate.py.j2   the scripts; they include what the recipe's task and method need
tasks/KIND/                   columns, batch, loss and evaluation of one kind of task
methods/METHOD.py.j2          how the base model becomes the one that is trained
card.md.j2                    the model card
"""
