"""One optimizer step on one global batch: gradient, check, clip, AdamW, average; or what to do instead."""

from __future__ import annotations

import math
import time

import torch
from torch import nn

from jorip.core.errors import NonFiniteError, ResourceError
from jorip.training import failpoints
from jorip.training.memory import out_of_memory
from jorip.training.nonfinite import dump, first_names
from jorip.training.schedule import factor
from jorip.training.session import Session
from jorip.training.split import micro_batches, share
from jorip.training.step import Summed
from jorip.training.tensors import not_finite


class Update:
    """Called with the ids of a global batch; moves weights, optimizer, average and state one step on."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.sizes = session.task.sizes.cpu().numpy()
        self.parameters = [p for p in session.task.model.parameters() if p.requires_grad]

    def __call__(self, ids: list[int]) -> None:
        run = self.session
        s, c = run.state, run.config
        failpoints.hit("step.begin")
        start = time.perf_counter()
        number = s.step + 1
        s.lr = c.optimizer.lr * factor(number, c.schedule, c.schedule.total or run.total)
        for group in run.optimizer.param_groups:
            group["lr"] = s.lr * group["scale"]
        sizes = self.sizes[ids]
        out = self._gradients(ids, sizes.tolist(), number)
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        # the only wait for the device in a step
        numbers = torch.stack([t.double().to(run.device) for t in (out.loss, norm, *out.aux.values())]).tolist()
        loss, s.grad_norm, aux = numbers[0], numbers[1], dict(zip(out.aux, numbers[2:]))
        if all(map(math.isfinite, numbers)):
            if c.clip is not None and s.grad_norm > c.clip:
                nn.utils.clip_grads_with_norm_(self.parameters, c.clip, norm)
            run.optimizer.step()
            if run.average is not None:
                run.average.update()
            s.log_loss, s.log_count = s.log_loss + loss, s.log_count + out.count
            s.log_aux = {name: s.log_aux.get(name, 0.0) + value for name, value in aux.items()}
        else:
            self._skip(number, ids, loss, aux)
        run.optimizer.zero_grad()
        tokens, now = int(sizes.sum()), time.perf_counter()
        s.step, s.batch, s.tokens, s.seconds = number, s.batch + 1, s.tokens + tokens, now - run.began
        s.log_steps, s.log_tokens, s.log_seconds = s.log_steps + 1, s.log_tokens + tokens, s.log_seconds + now - start
        if number % c.log_every == 0:
            run.log()
        run.progress.step(number, run.done(), s.seconds)
        failpoints.hit("step.end")

    def _gradients(self, ids: list[int], sizes: list[int], number: int) -> Summed:
        """Halves the micro-batch until the batch fits into memory; the result is the same."""
        run = self.session
        size_of = dict(zip(ids, sizes))
        mine = share(ids, sizes, run.world.size)[run.world.rank]
        while True:
            parts = micro_batches(mine, [size_of[i] for i in mine], run.state.micro_tokens)
            try:
                return run.gradients(parts, [min(ids, key=size_of.__getitem__)], run.state.epoch, number)
            except (RuntimeError, MemoryError) as e:
                if not out_of_memory(e):
                    raise
                problem = str(e).splitlines()[0] if str(e) else type(e).__name__
            # outside of the handler, whose traceback holds the graph that has to go
            run.optimizer.zero_grad()
            self._halve(parts, size_of, number, problem)

    def _halve(self, parts: list[list[int]], size_of: dict[int, int], number: int, problem: str) -> None:
        run = self.session
        largest = max((sum(size_of[i] for i in part) for part in parts), default=0)
        if run.world.size > 1:
            raise ResourceError(
                f"step {number}: out of memory ({problem}) with {largest} tokens at once. Several processes cannot "
                f"change this under way: set training.micro_tokens to {max(1, largest // 2)} or less in a new run"
            )
        if all(len(part) == 1 for part in parts):
            raise ResourceError(
                f"step {number}: out of memory ({problem}), and the batch is already cut to single examples, the "
                f"longest of {largest} tokens: use shorter examples, a smaller model or a larger machine"
            )
        run.state.micro_tokens = max(1, largest // 2)
        run.emit("memory", step=number, micro_tokens=run.state.micro_tokens, problem=problem)
        run.progress.notice(
            f"step {number}: out of memory at {largest} tokens at once; "
            f"going on with {run.state.micro_tokens} (same result)"
        )

    def _skip(self, number: int, ids: list[int], loss: float, aux: dict[str, float]) -> None:
        """A step without numbers: left out, or the end."""
        run = self.session
        s, model, allowed = run.state, run.task.model, run.config.nonfinite.skip
        s.skipped += 1
        weights = not_finite(dict(model.named_parameters()))
        found = f"step {number}: loss {loss:g}, gradient norm {s.grad_norm:g}"
        run.emit("nonfinite", step=number, loss=loss, aux=aux, grad_norm=s.grad_norm, ids=ids)
        if not weights and s.skipped <= allowed:
            run.progress.notice(f"{found}: step skipped ({s.skipped} of at most {allowed})")
            return
        where = ""
        if run.world.first:
            facts = {"epoch": s.epoch, "ids": ids, "loss": loss, "aux": aux, "grad_norm": s.grad_norm}
            where = f". Batch ids and norms are in {dump(run.folder, number, model, facts)}"
        if weights:
            raise NonFiniteError(
                f"{found}: weights are not finite: {first_names(weights)}{where}. The last checkpoint is whole: "
                "lower training.optimizer.lr or training.clip in a new run"
            )
        gradients = not_finite({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        raise NonFiniteError(
            f"{found}, and {s.skipped - 1} steps were skipped before (training.nonfinite.skip is {allowed}); gradients "
            f"not finite: {first_names(gradients) or 'none'}{where}. Look at these examples, or "
            "lower training.optimizer.lr"
        )
