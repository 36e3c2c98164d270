"""`train`: puts a session together, new or resumed, and runs it."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch.nn.parallel import DistributedDataParallel

from jorip.core.errors import CheckpointError, ConfigError, DataError, ResourceError
from jorip.core.process_memory import give_back_memory
from jorip.training.average import Average
from jorip.training.checkpoint import Checkpoints
from jorip.training.config import TrainConfig
from jorip.training.distributed import World, joined
from jorip.training.events import EventLog
from jorip.training.lock import locked
from jorip.training.loop import Loop, Result
from jorip.training.measure import Measure
from jorip.training.memory import out_of_memory
from jorip.training.optimizer import build_optimizer, freeze
from jorip.training.progress import Progress, count_text
from jorip.training.protocol import Task
from jorip.training.run import RunFolder
from jorip.training.session import Session
from jorip.training.signals import Signals
from jorip.training.state import State, restore
from jorip.training.step import Gradients
from jorip.training.tensorboard import Board
from jorip.training.tensors import load_weights, read_tensors

_SAME_SIGNAL = 1.0  # seconds: under a launcher a Ctrl-C may arrive from the terminal and from the launcher


def train(
    task: Task,
    config: TrainConfig,
    run_dir: str | Path,
    console: Console | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> Result:
    """Trains `task.model` into the run folder, or goes on where an earlier call was stopped.

    recipe: whatever else defines the run (spec, data section, plugin hashes), JSON; kept in run.json, and a resume must
    agree on it. Under torchrun every process calls this.

    Raises ConfigError (another process trains it, or other settings than the run was begun with), DataError (no
    batches), CheckpointError (all damaged), NonFiniteError, ResourceError (memory, disk), Interrupted (a signal).
    """
    with ExitStack() as stack:
        world = stack.enter_context(joined())
        progress = stack.enter_context(Progress(console, world.first))
        signals = stack.enter_context(Signals(_SAME_SIGNAL if world.size > 1 else 0.0))
        stack.enter_context(_settings(config.deterministic))
        try:
            session = _session(task, config, Path(run_dir), world, progress, signals, dict(recipe or {}), stack)
            return Loop(session).run()
        except (RuntimeError, MemoryError) as e:
            if out_of_memory(e):
                raise ResourceError(f"out of memory: {e}: take a smaller model or set training.micro_tokens") from e
            raise


@contextmanager
def _settings(deterministic: bool) -> Iterator[None]:
    """Process-wide settings for the time of the run."""
    deterministic_mode: Any = torch.utils.deterministic  # its attribute is a property that type checkers do not see
    before, fill = torch.get_deterministic_debug_mode(), deterministic_mode.fill_uninitialized_memory
    threads = torch.get_num_threads()
    # like use_deterministic_algorithms, which would first import the compiler (2 to 3 seconds)
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    if deterministic and torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS refuses to promise equal sums
    deterministic_mode.fill_uninitialized_memory = False  # a debugging aid that costs a pass over the memory
    gc.freeze()  # data and model are not garbage: collections during training need not look at them
    try:
        yield
    finally:
        gc.unfreeze()
        give_back_memory()
        torch.set_deterministic_debug_mode(before)
        deterministic_mode.fill_uninitialized_memory = fill
        torch.set_num_threads(threads)


def _session(
    task: Task,
    config: TrainConfig,
    path: Path,
    world: World,
    progress: Progress,
    signals: Signals,
    recipe: dict[str, Any],
    stack: ExitStack,
) -> Session:
    device = next(task.model.parameters()).device
    freeze(task.model, config.freeze)
    plan = task.plan(0)
    if not plan:
        raise DataError("the plan has no batches: there is nothing to train on")
    folder = RunFolder(path)
    checkpoints = Checkpoints(folder.ckpt, config.keep, progress.notice)
    measured, start = {}, None
    if world.first:
        stack.enter_context(locked(path))
        folder.sweep()
        checkpoints.sweep()
        resolved = {"config": config.model_dump(mode="json"), "recipe": recipe, "data": task.fingerprint}
        measured = folder.begin(resolved, Measure(task, config, plan[0], device, world))
        if (aside := getattr(task, "quarantine", None)) is not None:
            aside.write(path / "quarantine.jsonl")
        start = checkpoints.newest()
        if start is not None:
            checkpoints.set_aside(start)
    measured, start = world.share((measured, start))
    if measured["threads"] != torch.get_num_threads():
        torch.set_num_threads(measured["threads"])
    if measured["processes"] != world.size:
        progress.notice(
            f"the run was begun with {measured['processes']} processes, now {world.size}: sums round differently"
        )

    merged = getattr(task, "merged", None)
    if merged is not None and config.average:
        raise ConfigError("training.average does not go with merged weights (model.lora): set it to 0")
    optimizer = build_optimizer(task.model, config.optimizer)
    state = State(micro_tokens=config.micro_tokens)
    if start is not None:
        state = _read_state(start)
        if merged is None:
            load_weights(task.model, start)
    average = Average(task.model, config.average) if config.average else None
    if start is not None:
        restore(read_tensors(start / "trainer.safetensors"), task.model, optimizer, average, merged)
        if average is not None:
            average.updates = state.average_updates
        progress.notice(f"resuming {path} at step {state.step}, epoch {state.epoch}, batch {state.batch}")
    else:
        _introduce(task, plan, world, measured, progress)
    events = None
    if world.first:
        events = EventLog(folder.events, state.events)
        stack.callback(events.close)
        if events.short:
            progress.notice(f"{folder.events}: is shorter than the checkpoint remembers; earlier lines are missing")
        checkpoints.point_best(state.best)
    board = Board(path, state.step) if config.tensorboard and world.first else None
    if board:
        stack.callback(board.close)
    model = task.model
    if world.size > 1:
        model = DistributedDataParallel(model, find_unused_parameters=measured["unused_parameters"])
    return Session(
        task=task,
        config=config,
        folder=path,
        world=world,
        device=device,
        state=state,
        optimizer=optimizer,
        average=average,
        gradients=Gradients(task, model, world, device, config.seed, config.label_smoothing, measured["precision"]),
        checkpoints=checkpoints,
        events=events,
        signals=signals,
        progress=progress,
        board=board,
        plan=plan if state.epoch == 0 else task.plan(state.epoch),
        total=config.total_steps(len(plan)),
        resumed=start is not None,
    )


def _read_state(folder: Path) -> State:
    try:
        return State.from_json(json.loads((folder / "trainer.json").read_bytes()))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: has no trainer.json: it can be used, but training cannot go on from it"
        ) from None


def _introduce(task: Task, plan: list[list[int]], world: World, measured: dict[str, Any], progress: Progress) -> None:
    """How the batch is made, and a warning where overfitting is certain."""
    parameters = sum(p.numel() for p in task.model.parameters())
    tokens = sum(int(task.sizes[ids].sum()) for ids in plan)
    processes = f"{world.size} processes, " if world.size > 1 else ""
    if transplant := getattr(task, "transplant", None):
        progress.notice(str(transplant))
    for text in getattr(task, "notices", ()):
        progress.notice(f"warning: {text}")
    trained = sum(p.numel() for p in task.model.parameters() if p.requires_grad)
    of_them = f" ({count_text(trained)} trained)" if trained < parameters else ""
    progress.notice(
        f"{count_text(parameters)} parameters{of_them}, {count_text(tokens)} tokens in {len(plan)} batches of about "
        f"{count_text(tokens / len(plan))} per epoch; {processes}{measured['threads']} threads, "
        f"{measured['precision']} ({measured['why']})"
    )
    if parameters > 10 * tokens:
        progress.notice(
            f"warning: {count_text(parameters)} parameters are many for {count_text(tokens)} tokens: expect "
            "overfitting; more dropout, a smaller model and training.patience help"
        )
