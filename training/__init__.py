"""Training, run from a checkout: `python -m training STAGE --config FILE [--set key=value]...`.

Not part of the wheel. It reads `chimed_rag` and is never imported by it; the two meet at a model folder.

    cli.py            the command line, one command a stage
    settings.py       YAML and `--set` become pydantic settings; errors name file and key
    retriever.py      the stage `retriever`: the settings that all kinds share, kind -> module
    files.py          files, their rows, and the account of what became of them
    pairs.py          files become pairs of query and passage; texts.py corpora become texts; hygiene.py compares texts
    mining.py         hard negatives by BM25 and by an encoder
    run.py            one run: its folder, its phases, resuming; checkpoints.py the seals
    card.py           card.json and README.md of a trained model
    measure.py        recall on held-out pairs

and, with torch: backbone.py (tokenizer.py, mlm.py), fitting.py, and a module a kind: transformer.py, cross_encoder.py,
late_interaction.py.
"""
