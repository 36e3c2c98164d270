"""Tasks: language, for now; each binds data, a tokenizer, a model and the trainer."""
