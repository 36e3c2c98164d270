"""Running out of memory, as torch says it on different devices."""

import torch


def out_of_memory(e: BaseException) -> bool:
    """True for torch.OutOfMemoryError, Python's MemoryError and the CPU allocator's RuntimeError."""
    if isinstance(e, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(e, RuntimeError) and "DefaultCPUAllocator: can't allocate" in str(e)
