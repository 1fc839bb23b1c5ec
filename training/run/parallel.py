"""Data-parallel training: several processes, each with games of its own, learning one policy.

`torchrun` starts the processes (ranks) and tells each its number by environment variables; `group` joins them. Without
`torchrun` there is a world of one rank, in which the functions here do nothing, so the training loop has one path.
Ranks compute gradients on their own minibatches and step by the average, so that their weights, equal at the start,
stay equal. Functions that talk to the other ranks must be called by all of them, in the same order.

CPU tensors go by gloo, GPU tensors by NCCL. Rank 0 alone reads and writes the run folder, shows progress and evaluates.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

# How long a rank waits for the others: while the first evaluates, say. That a rank has died is noticed at once.
TIMEOUT = timedelta(minutes=30)


class RanksDiffer(RuntimeError):
    """The weights of the ranks are not equal any more."""


@contextmanager
def group(timeout: timedelta = TIMEOUT) -> Iterator[None]:
    """Join the other ranks, if `torchrun` started this process. Raises `ValueError` for fewer GPUs than ranks on this machine."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    gpus = torch.cuda.device_count() if dist.is_nccl_available() else 0
    if 0 < gpus <= local_rank():
        raise ValueError(f"This machine has {gpus} GPUs and more ranks; --nproc-per-node must be at most {gpus}.")
    if gpus:
        torch.cuda.set_device(local_rank())
    # Its functions have the world at the time of the import as a default argument. Imported later, as the optimisers do, they would
    # keep the group beyond its end, and one time in twenty its threads abort the process at exit.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=timeout)
    try:
        yield
    finally:
        dist.destroy_process_group()


def size() -> int:
    """Number of ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """This process's number on its machine, and that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def seed_of(seed: int, rank: int) -> int:
    """The seed of a rank's games, sampling and shuffling: the run's own for rank 0, unrelated ones for the others."""
    return seed if rank == 0 else int(np.random.SeedSequence(seed, spawn_key=(rank,)).generate_state(1)[0])


# ------------------------------------------------------------------------------------------- one of them does something


def on_first(function: Callable[[], T]) -> T:
    """Rank 0 calls the function; every rank gets what it returned (picklable).

    A `ValueError` or `OSError` in it is raised on rank 0, whose part it is to report it, and ends the others quietly.
    """
    if size() == 1:
        return function()
    box: list[Any] = [None, False]
    failure: Exception | None = None
    if rank() == 0:
        try:
            box[0] = function()
        except (ValueError, OSError) as error:
            failure, box[1] = error, True
    dist.broadcast_object_list(box, 0)
    if failure is not None:
        raise failure
    if box[1]:
        raise SystemExit(2)
    return box[0]


@contextmanager
def first_here() -> Iterator[None]:
    """The first rank of each machine goes first; what it leaves in a cache, the others find there."""
    if local_rank() > 0:
        barrier()
    yield
    if local_rank() == 0:
        barrier()


def barrier() -> None:
    """Wait until every rank is here."""
    total(torch.zeros(1))


# ---------------------------------------------------------------------------------------------------- all of them agree


def total(numbers: Tensor) -> Tensor:
    """Sum over the ranks of a tensor of equal shape on each; changed in place and returned."""
    if size() > 1:
        dist.all_reduce(numbers)
    return numbers


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank; the same answer on all."""
    return bool(total(torch.tensor([float(flag)])) > 0)


def everywhere(value: T) -> list[T]:
    """The values of all ranks (picklable), by rank, on all of them."""
    if size() == 1:
        return [value]
    values: list[Any] = [None] * size()
    dist.all_gather_object(values, value)
    return values


def at_first(value: T) -> list[T]:
    """The values of all ranks (picklable), by rank, on rank 0; on the others an empty list."""
    if size() == 1:
        return [value]
    values: list[Any] | None = [None] * size() if rank() == 0 else None
    dist.gather_object(value, values, 0)
    return values or []


# ------------------------------------------------------------------------------------------------- weights and gradients


def share_weights(module: torch.nn.Module) -> None:
    """Rank 0's parameters and buffers become everybody's."""
    if size() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


@torch.no_grad()
def average_gradients(module: torch.nn.Module, weight: int) -> None:
    """Gradients become their mean over the ranks weighted by `weight`, in one transfer.

    A rank's loss is a mean over the active groups of its minibatch. Weighted by their number, the mean of the ranks'
    gradients is the gradient of the mean over the active groups of all ranks. A parameter that no rank used keeps having
    none, so that an optimiser leaves it as it is, as it does in a world of one rank.
    """
    if size() == 1:
        return
    parameters = list(module.parameters())
    used = [float(p.grad is not None) for p in parameters]
    pieces = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() * weight for p in parameters]
    flat = total(torch.cat([*pieces, pieces[0].new_tensor([weight, *used])]))
    *pieces, weights, users = flat.split([*(p.numel() for p in parameters), 1, len(parameters)])
    # a rank that used everything need not look, and a GPU is not waited for
    somewhere = [True] * len(parameters) if all(used) else (users > 0).tolist()
    for p, piece, anybody in zip(parameters, pieces, somewhere):
        p.grad = (piece / weights).view_as(p) if anybody else None


def checksum(module: torch.nn.Module) -> str:
    """A fingerprint of the whole state, parameters and buffers such as masks, bit for bit."""
    digest = hashlib.sha256()
    for tensor in module.state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def check_equal(module: torch.nn.Module) -> str:
    """The checksum of the module's state, equal on all ranks; raises `RanksDiffer`, on all of them, if it is not."""
    sums = everywhere(checksum(module))
    if len(set(sums)) > 1:
        odd = next(r for r, value in enumerate(sums) if value != sums[0])
        raise RanksDiffer(f"The weights of rank {odd} (checksum {sums[odd]}) differ from those of rank 0 ({sums[0]}).")
    return sums[0]


def own_state(state: dict[str, Any], policy: torch.nn.Module) -> Any:
    """This rank's part of a trainer's stored `state`, whose weights are the policy's. Raises `ValueError` if it does not fit."""
    if len(state["ranks"]) != size():
        raise ValueError(
            f"The checkpoint is of a run with {len(state['ranks'])} ranks, this one has {size()}; "
            "to resume, start as many (torchrun --nproc-per-node)."
        )
    if state["weights"] != check_equal(policy):
        raise ValueError("The policy and the trainer's state of this checkpoint were not saved together.")
    return state["ranks"][rank()]
