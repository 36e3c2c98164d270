"""Hugging Face folders from the command line: each head answers what it is for."""

import json

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from jorip.cli.main import main

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "<s>",
    "</s>",
    *["who", "lives", "in", "seoul", "busan", "kim", "lee", "now", "good", "bad", "film", "."],
]
SIZES = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 10,
         "max_position_embeddings": 40, "vocab_size": len(WORDS)}  # fmt: skip


def tokenizer(style):
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    if style == "bert":
        inner.post_processor = processors.TemplateProcessing(
            "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
        )
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    else:
        names |= {"bos_token": "<s>", "eos_token": "</s>"}
        if style == "seq2seq":
            inner.post_processor = processors.TemplateProcessing("$A </s>", "$A $B </s>", [("</s>", 6)])
    return hf.PreTrainedTokenizerFast(tokenizer_object=inner, **names)


def read(style, text):
    return tokenizer(style)(text, return_tensors="pt", return_token_type_ids=False)


def folder(path, model, style="bert"):
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.3)
    model.eval().save_pretrained(path)
    tokenizer(style).save_pretrained(path)
    return path


@pytest.fixture
def bert():
    return hf.BertConfig(**SIZES, id2label={0: "POS", 1: "NEG", 2: "ODD"}, label2id={"POS": 0, "NEG": 1, "ODD": 2})


def run(capsys, *args):
    code = main([str(a) for a in args])
    out = capsys.readouterr()
    assert code == 0, out.err
    return out.out


def test_fill_mask(bert, tmp_path, capsys):
    place = folder(tmp_path / "mlm", hf.BertForMaskedLM(bert))
    (row,) = json.loads(run(capsys, "predict", place, "--json", "kim lives in [MASK] now"))
    ids = tokenizer("bert")("kim lives in [MASK] now", return_tensors="pt")
    with torch.no_grad():
        best = hf.BertForMaskedLM.from_pretrained(place)(**ids).logits[0, 4].softmax(-1)
    assert row["fills"][0][0]["token"] == WORDS[int(best.argmax())]
    assert row["fills"][0][0]["probability"] == pytest.approx(float(best.max()), rel=1e-4)


def test_classification(bert, tmp_path, capsys):
    place = folder(tmp_path / "cls", hf.BertForSequenceClassification(bert))
    (row,) = json.loads(run(capsys, "predict", place, "--json", "good film"))
    with torch.no_grad():
        p = hf.BertForSequenceClassification.from_pretrained(place)(
            **tokenizer("bert")("good film", return_tensors="pt")
        ).logits.softmax(-1)[0]  # fmt: skip
    assert row["prediction"] == ["POS", "NEG", "ODD"][int(p.argmax())]
    assert list(row["probabilities"].values()) == pytest.approx(p.tolist(), rel=1e-4)


def test_tags(bert, tmp_path, capsys):
    place = folder(tmp_path / "tag", hf.BertForTokenClassification(bert))
    (row,) = json.loads(run(capsys, "predict", place, "--json", "kim lives in seoul"))
    with torch.no_grad():
        best = hf.BertForTokenClassification.from_pretrained(place)(
            **tokenizer("bert")("kim lives in seoul", return_tensors="pt")
        ).logits.argmax(-1)[0, 1:-1]  # fmt: skip
    assert row["prediction"] == [["POS", "NEG", "ODD"][i] for i in best.tolist()]


def test_question_answering(bert, tmp_path, capsys):
    place = folder(tmp_path / "qa", hf.BertForQuestionAnswering(hf.BertConfig(**SIZES)))
    asked = {"context": "kim lives in seoul . lee lives in busan", "question": "who lives in busan"}
    (row,) = json.loads(run(capsys, "predict", place, "--json", json.dumps(asked)))
    assert row["prediction"] and row["prediction"] in asked["context"]


def test_continue(tmp_path, capsys):
    config = hf.GPT2Config(
        n_embd=12, n_layer=2, n_head=3, n_positions=40, vocab_size=len(WORDS), bos_token_id=5, eos_token_id=6
    )
    place = folder(tmp_path / "lm", hf.GPT2LMHeadModel(config), "gpt")
    (row,) = json.loads(run(capsys, "generate", place, "--json", "--max-new-tokens", 5, "kim lives"))
    with torch.no_grad():
        want = hf.GPT2LMHeadModel.from_pretrained(place).generate(
            **read("gpt", "kim lives"), max_new_tokens=5, do_sample=False, pad_token_id=0
        )[0, 2:]  # fmt: skip
    assert row["text"].split() == [WORDS[i] for i in want.tolist() if i not in (0, 1, 5, 6)]


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_rewrite(family, tmp_path, capsys):
    common = {
        "d_model": 12,
        "vocab_size": len(WORDS),
        "decoder_start_token_id": 5,
        "eos_token_id": 6,
        "pad_token_id": 0,
    }
    if family == "t5":
        model = hf.T5ForConditionalGeneration(hf.T5Config(**common, d_kv=4, d_ff=10, num_layers=2, num_heads=3))
    else:
        sides = {
            f"{s}_{k}": v
            for s in ("encoder", "decoder")
            for k, v in {"layers": 2, "attention_heads": 3, "ffn_dim": 10}.items()
        }
        model = hf.BartForConditionalGeneration(
            hf.BartConfig(**common, **sides, bos_token_id=5, max_position_embeddings=40, forced_eos_token_id=None)
        )
    place = folder(tmp_path / family, model, "seq2seq")
    (row,) = json.loads(run(capsys, "predict", place, "--json", "kim lives in seoul"))
    with torch.no_grad():
        want = type(model).from_pretrained(place).generate(
            **read("seq2seq", "kim lives in seoul"), max_new_tokens=30, do_sample=False, num_beams=1
        )[0]  # fmt: skip
    assert row["prediction"].split()[:29] == [WORDS[i] for i in want.tolist() if i not in (0, 1, 5, 6)][:29]


def test_a_model_without_a_readout(bert, tmp_path, capsys):
    place = folder(tmp_path / "base", hf.BertModel(bert))
    assert main(["predict", str(place), "good film"]) == 2
    assert "answers no task: it can be loaded in Python" in capsys.readouterr().err


def test_a_converted_folder_predicts_the_same(bert, tmp_path, capsys):
    place = folder(tmp_path / "cls", hf.BertForSequenceClassification(bert))
    run(capsys, "convert", place, tmp_path / "own", "--format", "jorip")
    texts = ("good film", "kim lives in busan")
    first, second = (json.loads(run(capsys, "predict", p, "--json", *texts)) for p in (place, tmp_path / "own"))
    assert first == second
    assert "BertForSequenceClassification" in run(capsys, "show", place)


def test_fine_tuning_and_handing_back(bert, tmp_path, capsys):
    """From a masked-token checkpoint to a classifier of the user's own labels, which transformers opens."""
    folder(tmp_path / "mlm", hf.BertForMaskedLM(bert))
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "good film\tfine\nbad film\tpoor\n" * 8, encoding="utf-8")
    readout = "{classifier: {pool: first, hidden: true, dropout: 0.1}}"
    (tmp_path / "tune.yaml").write_text(
        f"task: classify\ndata: {{train: a.tsv, val: a.tsv, tokens: 64}}\n"
        f"model: {{start_from: mlm, override: {{readout: {readout}}}}}\n"
        "training: {epochs: 12, optimizer: {lr: 1e-2, layer_decay: 0.9}, threads: 1, evaluate_every: 12}\n"
        "evaluation: {metric: accuracy}\n",
        encoding="utf-8",
    )
    run(capsys, "train", tmp_path / "tune.yaml", "--out", tmp_path / "run")
    rows = json.loads(run(capsys, "predict", tmp_path / "run", "--json", "good film", "bad film"))
    assert [r["prediction"] for r in rows] == ["fine", "poor"]
    run(capsys, "convert", tmp_path / "run", tmp_path / "back", "--format", "hf")
    theirs = hf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "back")
    assert theirs.config.id2label == {0: "fine", 1: "poor"}
    inputs = hf.AutoTokenizer.from_pretrained(tmp_path / "back")(["good film", "bad film"], return_tensors="pt")
    with torch.no_grad():
        p = theirs.eval()(**inputs).logits.softmax(-1)
    assert [r["probabilities"]["fine"] for r in rows] == pytest.approx(p[:, 0].tolist(), abs=1e-5)
