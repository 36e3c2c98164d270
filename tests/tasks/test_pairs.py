"""Source and target: what both sides have room for, and answers as a folder's settings say."""

import pytest
import torch
import transformers

from jorip.tasks.check import check
from jorip.tasks.pairs import Pairs
from jorip.tasks.run import open_run, prepare
from jorip.training.start import train
from tests.exchange.tokenizer_folders import FOLDERS, write
from tests.tasks.test_pretraining import config_for

LIMITS = {f"{side}.{k}": v for side in ("encoder", "decoder") for k, v in {"max_len": 12, "d_model": 16}.items()}
LEARNED = {f"{side}.position": "learned" for side in ("encoder", "decoder")}
MODEL = {"recipe": "transformer-tiny", "override": LIMITS | LEARNED}


def translate_config(tmp_path, **data):
    config = config_for("denoise", tmp_path, model=MODEL, tokenizer={"kind": "character"})
    rows = "abcdefghijk\tkjihgfedcba\nab\tba\nabcdefghijkl\tlk\n"  # 11, 2 and 12 characters
    (tmp_path / "rows.tsv").write_text(rows, encoding="utf-8")
    source = config.data.train.model_copy(update={"path": "rows.tsv", "columns": {"source": 0, "target": 1}})
    more = config.data.model_copy(update=dict.fromkeys(("train", "val"), source) | {"test": {"test": source}} | data)
    return config.model_copy(update={"task": "translate", "data": more})


def test_a_text_may_be_as_long_as_the_model(tmp_path):
    """Positions 0 to 11: eleven characters and <eos>; <bos> and eleven characters."""
    task = prepare(translate_config(tmp_path))
    assert isinstance(task, Pairs) and task.limit == 11 and task.train.truncated == 1
    batch = task.train.take([0, 1, 2])
    assert batch["source"].lengths.tolist() == [12, 3, 12] and batch["target"].lengths.tolist() == [13, 4, 4]
    assert torch.isfinite(task.run(task.model, batch, None, 0.0).loss[0])
    task.predict([{"source": "abcdefghijk"}, {"source": "abcdefghijkl"}, {"source": ""}])
    assert task.cut == 1


def test_check_says_what_the_model_cuts(tmp_path):
    found = check(translate_config(tmp_path))
    assert found.problems == [] and "train: 1 of 3 examples are cut at max_len 11" in found.warnings


def test_a_limit_of_the_data_counts_no_special_tokens(tmp_path):
    task = prepare(translate_config(tmp_path, max_len=5))
    assert task.limit == 5 and task.train.truncated == 2
    assert task.train.take([0])["target"].lengths.tolist() == [7]


def test_windows_of_a_text_fit_the_model(tmp_path):
    task = prepare(config_for("denoise", tmp_path, model=MODEL, data__window=50))
    assert task.room == 11
    batch = task.batch(list(range(len(task.train))), 0)
    assert int(batch["target"].lengths.max()) == 13  # the last of which the decoder does not read
    assert torch.isfinite(task.run(task.model, batch, None, 0.0).loss[0])
    assert prepare(config_for("denoise", tmp_path, model=MODEL, data__window=9)).room == 7


@pytest.fixture
def bart(tmp_path):
    torch.manual_seed(0)
    each = {"layers": 1, "attention_heads": 2, "ffn_dim": 20}.items()
    sides = {f"{side}_{k}": v for side in ("encoder", "decoder") for k, v in each}
    model = transformers.BartForConditionalGeneration(
        transformers.BartConfig(vocab_size=500, d_model=16, max_position_embeddings=30, init_std=1.0, **sides)
    )
    model.generation_config.num_beams = 2
    model.generation_config.max_new_tokens = 3
    model.eval().save_pretrained(tmp_path / "bart")
    return write(tmp_path / "bart", **{k: v for k, v in FOLDERS["roberta"]().items() if k != "config__json"})


def test_a_denoiser_answers_as_its_folder_says(bart, tmp_path):
    """Beams, lengths and ends are the checkpoint's, unless the run says otherwise."""
    text = "The film was good, the actors were better\n" * 4
    config = config_for("denoise", tmp_path, text=text, model={"start_from": "bart"}, evaluation={"samples": 1})
    train(prepare(config), config.training, tmp_path / "run")
    task = open_run(tmp_path / "run").task
    sources = [task.tokenizer.encode("The film was good"), task.tokenizer.encode("the actors")]
    made = task.answers(task.model, sources)
    assert max(map(len, made)) <= 3
    for ids, source in zip(made, sources):
        whole = torch.tensor([task.tokenizer.source.fill(source)[0]])
        (want,) = task.model.generate(whole, beams=2, max_new_tokens=3).tolist()
        assert ids == [i for i in want if i not in task.ends]
    task.model.origin.generation["eos_token_id"] = list(range(3, 500))
    task.model.origin.ids["eos"] = list(range(3, 500))  # several ids may end a text
    assert all(set(ids) <= {0, 1, 2} for ids in task.answers(task.model, sources))
    own = {"samples": 1, "max_new_tokens": 2, "beams": 1}
    config = config_for("denoise", tmp_path, text=text, model={"start_from": "bart"}, evaluation=own)
    assert max(map(len, prepare(config).answers(task.model, sources))) <= 2
