"""The map is the survey's, and says "working" only of what runs."""

import subprocess
import sys

import pytest
import torch

from jorip import map as survey
from jorip.architectures.base import Architecture
from jorip.blocks.base import Block
from jorip.core.init import Init
from jorip.core.spec import Spec
from jorip.parts.attention.base import Mechanism
from jorip.parts.attention.linear.features.base import FeatureMap
from jorip.parts.attention.linear.rules.base import Aggregation
from jorip.parts.embedding.base import Embedding
from jorip.parts.feedforward.base import FeedForward
from jorip.parts.mixer.base import Mixer
from jorip.parts.nodes.base import Nodes
from jorip.parts.norm.base import Norm
from jorip.parts.position.base import Position
from jorip.parts.readout.base import Readout

FAMILIES = (Mixer, Mechanism, FeatureMap, Aggregation, Nodes, Norm, Position, FeedForward, Block, Embedding, Readout)
FAMILIES += (Init, Architecture)
WORKING = [pytest.param(r, id=r.id or r.name) for r in survey.rows() if r.status == "working"]
HAVE = {"A1": 14, "A2": 4, "A3": 9, "A4": 2, "A5": 5, "A6": 3, "A7": 10, "A8": 9, "P1": 5, "P2": 6, "P3": 2, "P4": 3}
HAVE |= {"P5": 1, "N1": 3, "N2": 3, "N3": 1, "F1": 4, "F2": 5, "F3": 2}
HAVE |= {"R1": 3, "R2": 3, "R3": 6, "R4": 5, "R5": 6, "R6": 5}


def test_ids_are_exactly_the_surveys():
    ids = [r.id for r in survey.rows() if r.id is not None]
    assert ids == [f"{group}.{i + 1}" for group, count in HAVE.items() for i in range(count)]
    assert len(ids) == 119 and len([r for r in survey.rows() if r.id and not r.repeats]) == 118


def test_names_kinds_and_papers():
    rows = survey.rows()
    assert len({r.name for r in rows}) == len(rows)
    assert all(r.name and r.kind and r.paper != "" for r in rows)
    assert all(set(r.as_dict()) == {"id", "name", "kind", "status", "paper"} for r in rows)
    assert {r.status for r in rows} == {"working", "planned"}
    known = {r.id: r for r in rows}
    assert all(known[other].id for r in rows for other in r.repeats)
    planned = next(r for r in rows if r.status == "planned")
    with pytest.raises(KeyError, match=f"{planned.id} is planned, it has no example yet"):
        planned.spec()


@pytest.mark.parametrize("row", WORKING)
def test_a_working_row_runs(row):
    model = row.spec().build(seed=0).eval()
    ids = torch.randint(0, 32, (2, 5))
    mask = torch.tensor([[True] * 5, [False] * 2 + [True] * 3])
    paired = row.example.keys() == {"encoder_decoder"}
    out = model(ids, ids, source_mask=mask, target_mask=mask) if paired else model(ids, mask=mask)
    assert out.hidden.shape == (2, 5, 16) and out.hidden.isfinite().all()
    assert (out.hidden[~mask] == 0).all() and out.hidden[mask].std() > 0


def kinds(spec: Spec) -> set[str]:
    """Names of all parts in a spec, with their family."""
    found = {f"{spec.family.__name__}.{spec.kind}"} if spec.family else set()
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        for v in value if isinstance(value, tuple) else (value,):
            if isinstance(v, Spec):
                found |= kinds(v)
    return found


def test_every_part_is_on_the_map_and_every_id_has_a_part():
    shown = {k for p in WORKING for k in kinds(p.values[0].spec())}
    have = {f"{f.__name__}.{name}" for f in FAMILIES for name in f.members()}
    assert have - shown == set(), "parts without a row"
    behind = {id: f"{f.__name__}.{n}" for f in FAMILIES for n, m in f.members().items() for id in m.ids}
    working = {r.id: r for r in survey.rows() if r.id and r.status == "working"}
    assert set(behind) == set(working), "a row works exactly when a part says that it implements it"
    assert all(behind[id] in kinds(row.spec()) for id, row in working.items()), "the example must use that part"


def test_the_map_needs_no_torch():
    code = "import sys; from jorip.map import rows; rows(); assert not {'torch', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
