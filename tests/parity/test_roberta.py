"""RoBERTa and its twins in and out."""

import pytest
import torch
import transformers as hf

import jorip
from jorip.core.errors import DataError
from tests.parity.compare import refuses, save, shake
from tests.parity.encoders import check_encoder
from tests.parity.test_bert import SIZES, rewritten

ROBERTA = SIZES | {"max_position_embeddings": 15, "bos_token_id": 0, "eos_token_id": 2}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"hidden_act": "relu", "layer_norm_eps": 1e-3, "tie_word_embeddings": False, "type_vocab_size": 1},
        {"pad_token_id": 0, "type_vocab_size": 3},
        {"pad_token_id": 3, "max_position_embeddings": 11},
    ],
)
def test_masked_tokens(more, tmp_path):
    fields = ROBERTA | {"pad_token_id": 1} | more
    theirs = hf.RobertaForMaskedLM(hf.RobertaConfig(**fields))
    segments = more.get("type_vocab_size", 2)
    check_encoder(theirs, tmp_path, 47, segments=segments, pad=fields["pad_token_id"], positions=False)


@pytest.mark.parametrize("n_labels", [1, 3, 5])
@pytest.mark.parametrize("head", ["RobertaForSequenceClassification", "RobertaForTokenClassification"])
def test_classification(head, n_labels, tmp_path):
    config = hf.RobertaConfig(**ROBERTA, num_labels=n_labels, classifier_dropout=0.0)
    check_encoder(getattr(hf, head)(config), tmp_path, 47, pad=1, positions=False)


@pytest.mark.parametrize("head", ["RobertaModel", "RobertaForQuestionAnswering"])
def test_other_heads(head, tmp_path):
    check_encoder(getattr(hf, head)(hf.RobertaConfig(**ROBERTA)), tmp_path, 47, pad=1, positions=False)


@pytest.mark.parametrize("name, kind", [("XLMRoberta", "xlm-roberta"), ("Camembert", "camembert")])
def test_the_same_model_by_other_names(name, kind, tmp_path):
    config = getattr(hf, f"{name}Config")(**ROBERTA)
    ours = check_encoder(getattr(hf, f"{name}ForMaskedLM")(config), tmp_path, 47, pad=1, positions=False)
    assert ours.origin.family == kind


def test_what_is_refused(tmp_path):
    config = hf.RobertaConfig(**ROBERTA, pad_token_id=1)
    folder = save(shake(hf.RobertaForMaskedLM(config)), tmp_path / "a")
    refuses(rewritten(folder, {"pad_token_id": None}), "positions start behind it, so it must be an id: None")
    refuses(rewritten(folder, {"pad_token_id": 1, "max_position_embeddings": 2}), "max_position_embeddings: 2")
    refuses(rewritten(folder, {"max_position_embeddings": 16}), "'position.weight' has shape (15, 21)")


def test_lengths(tmp_path):
    """514 rows are 512 tokens; one more is an error that says so."""
    config = hf.RobertaConfig(**ROBERTA, pad_token_id=1)
    ours = jorip.load(save(shake(hf.RobertaModel(config)), tmp_path / "a"))
    assert ours.spec.max_len == 13
    ours(torch.full((1, 13), 5))
    with pytest.raises(DataError, match="13"):
        ours(torch.full((1, 14), 5))
