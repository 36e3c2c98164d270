"""Pre-training tasks on Hugging Face folders: fill-mask gives transformers' tokens, and training goes on from T5."""

import pytest
import torch
import transformers

from jorip.objectives import restore
from jorip.tasks.run import open_run, prepare
from jorip.training.start import train
from tests.exchange.tokenizer_folders import FOLDERS, write
from tests.tasks.test_pretraining import config_for


def folder_of(name, tmp_path, model):
    """A tokenizer folder with this model's weights in it."""
    model.eval().save_pretrained(tmp_path / name)
    files = {k: v for k, v in FOLDERS[name]().items() if k != "config__json"}
    return write(tmp_path / name, **files)


def rows_of(name):
    """How many ids the folder's tokenizer needs, rounded up."""
    return {"bert": 300, "roberta": 500, "t5": 300}[name]


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_fill_mask_is_transformers(name, tmp_path):
    torch.manual_seed(0)
    sizes = {"vocab_size": rows_of(name), "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
             "intermediate_size": 40, "max_position_embeddings": 40}  # fmt: skip
    if name == "bert":
        theirs = transformers.BertForMaskedLM(transformers.BertConfig(**sizes))
    else:
        theirs = transformers.RobertaForMaskedLM(transformers.RobertaConfig(**sizes, pad_token_id=1))
    folder = folder_of(name, tmp_path, theirs)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = "The film was <mask>, the actors were <mask>!"
    (ours,) = open_run(folder).predict([text])
    inputs = tokenizer(text.replace("<mask>", tokenizer.mask_token), return_tensors="pt")
    logits = theirs(**inputs).logits[0][inputs["input_ids"][0] == tokenizer.mask_token_id]
    best = logits.softmax(-1).topk(5)
    assert len(ours["fills"]) == 2
    for fills, p, ids in zip(ours["fills"], best.values.tolist(), best.indices.tolist()):
        assert [f["probability"] for f in fills] == pytest.approx(p, rel=1e-4)
        assert [f["token"].strip() for f in fills] == [tokenizer.decode([i]).strip() for i in ids]


def test_span_corruption_goes_on_from_t5(tmp_path):
    """With the checkpoint's own sentinels and start token."""
    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=rows_of("t5"), d_model=24, d_kv=8, d_ff=40, num_layers=2, num_heads=3,
                                   decoder_start_token_id=0)  # fmt: skip
    folder_of("t5", tmp_path, transformers.T5ForConditionalGeneration(config))
    text = "The film was good, the actors were better\n" * 6
    task = prepare(config_for("span_corruption", tmp_path, text=text, model={"start_from": "t5"}))
    t = task.tokenizer
    assert task.vocabulary.sentinels == tuple(t.token_to_id(f"<extra_id_{i}>") for i in range(100))
    assert task.model.spec.decoder.vocab_size == rows_of("t5") and task.transplant.fresh == []
    batch = task.batch([0, 1], 0)
    for source, target in zip(batch["source"].split(), batch["target"].split()):
        assert source[-1] == target[-1] == t.eos and target[0] == 0 and target[1] == task.vocabulary.sentinels[0]
        whole = restore(source[:-1], target[1:-1], task.vocabulary.sentinels)
        assert len(whole) <= 14 and not set(whole.tolist()) & set(task.vocabulary.sentinels)
    train(task, task.config.training, tmp_path / "run")
    opened = open_run(tmp_path / "run")
    (said,) = opened.predict(["The film was <mask>, the actors were <mask>"])
    assert len(said["fills"]) == 2 and "extra_id" not in said["prediction"]
    by_transformers = transformers.AutoTokenizer.from_pretrained(tmp_path / "t5")
    ids = opened.task.sentinels_for("The film was <mask>, the actors were <mask>")
    assert ids == by_transformers("The film was <extra_id_0>, the actors were <extra_id_1>")["input_ids"][:-1]
