"""Memory that stays: counted by the kernel, as pages that are touched for the first time."""

import subprocess
import sys

import pytest

from jorip.core import process_memory
from jorip.core.process_memory import ample_memory, give_back_memory, keep_freed_memory

FAULTS = """
import resource, torch
from jorip.core.process_memory import give_back_memory, keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)  # 64 MiB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
usual = faults()
kept = keep_freed_memory()
again = min(faults() for _ in range(40))
give_back_memory()
print(kept, usual, again, faults())
"""


def test_blocks_that_are_freed_are_used_again():
    out = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout.split()
    if out[0] != "True":
        pytest.skip("this C library is not glibc")
    usual, again, after = map(int, out[1:])
    pages = 2**26 // 4096
    assert again < pages // 20, "the same block is touched for the first time once more"
    if usual >= pages:  # the kernel gives single pages, not huge ones
        assert after >= pages, "nothing was given back"


def test_other_c_libraries_are_left_alone(monkeypatch):
    class Other:
        pass

    monkeypatch.setattr("ctypes.CDLL", lambda name: Other())
    assert keep_freed_memory() is False
    give_back_memory()


@pytest.mark.parametrize(
    ("free", "most", "ample"), [(10, 10, True), (9, 10, False), (None, 1, False), (1, None, False)]
)
def test_ample_is_room_for_the_peak_a_second_time(monkeypatch, free, most, ample):
    monkeypatch.setattr(process_memory, "available_memory", lambda: free)
    monkeypatch.setattr(process_memory, "largest_resident", lambda: most)
    assert ample_memory() is ample
