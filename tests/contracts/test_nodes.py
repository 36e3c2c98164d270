"""The contracts of whole models (`test_models`) for mixers that read external nodes."""

import pytest

from tests.contracts import test_models as contract
from tests.contracts.zoo import NODE_SITES

CAUSAL = [p for p in NODE_SITES if p.values[1]]
EVERYWHERE = [
    contract.test_padding_on_any_side_equals_alone,
    contract.test_gradients_do_not_see_padding,
    contract.test_activation_checkpointing_changes_nothing,
    contract.test_autocast,
    contract.test_spec_survives_saving,
    contract.test_same_seed_same_model,
    contract.test_uninitialised_memory_is_never_read,
]
DECODING = [contract.test_state_select_snapshot_restore, contract.test_gradients_flow_through_the_state]


def test_there_are_some():
    assert len(NODE_SITES) > 4 and CAUSAL


@pytest.mark.parametrize("check", EVERYWHERE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("spec, causal", NODE_SITES)
def test_models(check, spec, causal):
    check(spec, causal)


@pytest.mark.parametrize("check", DECODING, ids=lambda f: f.__name__)
@pytest.mark.parametrize("spec, causal", CAUSAL)
def test_decoding(check, spec, causal):
    check(spec)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("spec, causal", CAUSAL)
def test_step_by_step_equals_the_full_pass(spec, causal, grad):
    contract.test_step_by_step_equals_the_full_pass(spec, grad)
