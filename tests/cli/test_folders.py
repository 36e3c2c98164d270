"""Hugging Face folders from the command line: each head answers what it is for."""

import json

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import jorip
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


COMMON = {"d_model": 12, "vocab_size": len(WORDS), "decoder_start_token_id": 5, "eos_token_id": 6, "pad_token_id": 0}
CLASSES = {"id2label": {0: "POS", 1: "NEG", 2: "ODD"}, "label2id": {"POS": 0, "NEG": 1, "ODD": 2}}


def config_of(family, **more):
    if family == "t5":
        return hf.T5Config(**COMMON, d_kv=4, d_ff=10, num_layers=2, num_heads=3, **more)
    each = {"layers": 2, "attention_heads": 3, "ffn_dim": 10}.items()
    sides = {f"{side}_{k}": v for side in ("encoder", "decoder") for k, v in each}
    return hf.BartConfig(
        **COMMON, **sides, bos_token_id=5, max_position_embeddings=40, forced_eos_token_id=None, **more
    )


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_rewrite(family, tmp_path, capsys):
    kind = {"t5": hf.T5ForConditionalGeneration, "bart": hf.BartForConditionalGeneration}[family]
    model = kind(config_of(family))
    place = folder(tmp_path / family, model, "seq2seq")
    (row,) = json.loads(run(capsys, "predict", place, "--json", "kim lives in seoul"))
    with torch.no_grad():
        want = type(model).from_pretrained(place).generate(
            **read("seq2seq", "kim lives in seoul"), max_new_tokens=30, do_sample=False, num_beams=1
        )[0]  # fmt: skip
    assert row["prediction"].split()[:29] == [WORDS[i] for i in want.tolist() if i not in (0, 1, 5, 6)][:29]


@pytest.mark.parametrize("family", ["T5", "Bart"])
def test_classification_by_an_encoder_decoder(family, tmp_path, capsys):
    kind = getattr(hf, f"{family}ForSequenceClassification")
    place = folder(tmp_path / "cls", kind(config_of(family.lower(), **CLASSES)), "seq2seq")
    texts = ["good film", "kim lives in seoul now ."]
    rows = json.loads(run(capsys, "predict", place, "--json", *texts))
    theirs = kind.from_pretrained(place)
    for row, text in zip(rows, texts):
        with torch.no_grad():
            p = theirs(**read("seq2seq", text)).logits.softmax(-1)[0]
        assert row["prediction"] == ["POS", "NEG", "ODD"][int(p.argmax())]
        assert list(row["probabilities"].values()) == pytest.approx(p.tolist(), rel=1e-4)


def test_tags_by_t5(tmp_path, capsys):
    place = folder(tmp_path / "tag", hf.T5ForTokenClassification(config_of("t5", **CLASSES)), "seq2seq")
    (row,) = json.loads(run(capsys, "predict", place, "--json", "kim lives in seoul"))
    with torch.no_grad():
        best = hf.T5ForTokenClassification.from_pretrained(place)(**read("seq2seq", "kim lives in seoul")).logits
    assert row["prediction"] == [["POS", "NEG", "ODD"][i] for i in best.argmax(-1)[0, :-1].tolist()]


@pytest.mark.parametrize("family", ["T5", "Bart"])
def test_question_answering_by_an_encoder_decoder(family, tmp_path, capsys):
    kind = getattr(hf, f"{family}ForQuestionAnswering")
    place = folder(tmp_path / "qa", kind(config_of(family.lower())), "seq2seq")
    context, question = "kim lives in seoul now", "who lives in busan"
    asked = json.dumps({"context": context, "question": question})
    (row,) = json.loads(run(capsys, "predict", place, "--json", asked))
    words = context.split()
    pair = tokenizer("seq2seq")(question, context, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        out = kind.from_pretrained(place)(**pair)
    start, end = out.start_logits[0, 4:9], out.end_logits[0, 4:9]
    spans = {(i, j): float(start[i] + end[j]) for i in range(5) for j in range(i, 5)}
    (i, j), best = max(spans.items(), key=lambda s: s[1])
    assert row["prediction"] == " ".join(words[i : j + 1])
    none = float(out.start_logits[0, 0] + out.end_logits[0, 0])
    assert row["score"] == pytest.approx(best - none, abs=1e-3)


@pytest.mark.parametrize("family", ["Bert", "Bart", "GPT2"])
def test_a_number_is_predicted_as_a_number(family, tmp_path, capsys):
    """One label is regression, as in sentence similarity."""
    if family == "GPT2":
        sizes = {"n_embd": 12, "n_layer": 2, "n_head": 3, "n_positions": 40, "vocab_size": len(WORDS)}
        config = hf.GPT2Config(**sizes, num_labels=1, bos_token_id=5, eos_token_id=6, pad_token_id=0)
    else:
        config = hf.BertConfig(**SIZES, num_labels=1) if family == "Bert" else config_of("bart", num_labels=1)
    style = {"Bert": "bert", "Bart": "seq2seq", "GPT2": "gpt"}[family]
    kind = getattr(hf, f"{family}ForSequenceClassification")
    place = folder(tmp_path / "sts", kind(config), style)
    texts = ["good film", "kim lives in seoul now ."]
    rows = json.loads(run(capsys, "predict", place, "--json", *texts))
    with torch.no_grad():
        want = [float(kind.from_pretrained(place)(**read(style, t)).logits) for t in texts]
    assert [r["prediction"] for r in rows] == pytest.approx(want, rel=1e-4)
    assert all(set(r) == {"text", "prediction"} for r in rows) and rows[0] != rows[1]
    plain = run(capsys, "predict", place, *texts).splitlines()
    assert [float(x) for x in plain] == pytest.approx(want, rel=1e-4)


def test_labels_that_hold_together(tmp_path, capsys):
    config = hf.BertConfig(**SIZES, **CLASSES, problem_type="multi_label_classification")
    place = folder(tmp_path / "topics", hf.BertForSequenceClassification(config))
    (row,) = json.loads(run(capsys, "predict", place, "--json", "good film"))
    with torch.no_grad():
        p = hf.BertForSequenceClassification.from_pretrained(place)(**read("bert", "good film")).logits.sigmoid()[0]
    assert list(row["probabilities"].values()) == pytest.approx(p.tolist(), rel=1e-4)


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


def test_question_answering_is_handed_back(tmp_path, capsys):
    """From a classifier with labels of its own to answers, also to questions that have none."""
    folder(tmp_path / "cls", hf.BertForSequenceClassification(hf.BertConfig(**SIZES, **CLASSES, num_labels=3)))
    rows = [{"context": f"{n} lives in {c} now", "question": "who lives", "answers": [n]}
            for n in ("kim", "lee") for c in ("seoul", "busan")]  # fmt: skip
    rows += [{"context": "good film .", "question": "who lives", "answers": []}]
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    (tmp_path / "tune.yaml").write_text(
        "task: question_answering\ndata: {train: qa.jsonl, val: qa.jsonl, tokens: 64}\nmodel: {start_from: cls}\n"
        "training: {steps: 3, optimizer: {lr: 1e-2}, schedule: {kind: constant}, threads: 1, evaluate_every: 3}\n",
        encoding="utf-8",
    )
    run(capsys, "train", tmp_path / "tune.yaml", "--out", tmp_path / "run")
    run(capsys, "convert", tmp_path / "run", tmp_path / "back", "--format", "hf")
    theirs = hf.AutoModelForQuestionAnswering.from_pretrained(tmp_path / "back")
    assert theirs.config.id2label == {0: "LABEL_0", 1: "LABEL_1"} and theirs.config.num_labels == 2
    inputs = hf.AutoTokenizer.from_pretrained(tmp_path / "back")(
        "who lives", "kim lives in seoul", return_tensors="pt", return_token_type_ids=True
    )
    with torch.no_grad():
        out = theirs.eval()(**inputs)
        mine = jorip.load(tmp_path / "run").eval()(inputs["input_ids"], segments=inputs["token_type_ids"]).logits
    assert torch.allclose(mine[..., 0], out.start_logits, atol=1e-5)
    assert torch.allclose(mine[..., 1], out.end_logits, atol=1e-5)
    # a folder of ours of it still knows that questions may have no answer
    run(capsys, "convert", tmp_path / "run", tmp_path / "own", "--format", "jorip")
    asked = json.dumps({"context": "good film .", "question": "who lives"})
    first, second = (run(capsys, "predict", tmp_path / n, "--json", asked) for n in ("run", "own"))
    assert first == second
