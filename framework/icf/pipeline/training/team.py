"""The workers that train one fold together; alone, every call is free."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn

from icf.components import IntArray


class Team:
    """All ranks of one fold. The default is a team of one, which needs no process group."""

    rank = 0
    size = 1

    @property
    def is_main(self) -> bool:
        """Tell whether this rank writes the files."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model whose backward pass averages gradients over the team."""
        return model

    def share(self, rows: IntArray) -> IntArray:
        """Return this rank's part of a batch of rows."""
        return rows

    def average(self, value: float) -> float:
        """Return the mean of a number over the team."""
        return value

    def collect(self, value: float) -> list[float]:
        """Return every rank's number."""
        return [value]

    def gather(self, values: torch.Tensor, total: int) -> torch.Tensor:
        """Return what all ranks computed for their shares of ``total`` rows, [total, ...], in the rows' order."""
        del total
        return values

    def agree(self, decision: Any) -> Any:
        """Return the main rank's decision (plain data)."""
        return decision

    def sync_buffers(self, model: nn.Module) -> None:
        """Give every rank the main rank's buffers (running statistics)."""


class DistributedTeam(Team):
    """Ranks of an initialised torch.distributed process group."""

    def __init__(self, device: torch.device) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self._device = device

    def wrap(self, model: nn.Module) -> nn.Module:
        """Wrap in DistributedDataParallel; buffers are synchronised once per epoch instead of per step."""
        ids = [self._device.index or 0] if self._device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)

    def share(self, rows: IntArray) -> IntArray:
        """Return every size-th row, starting at the rank."""
        return rows[self.rank :: self.size]

    def average(self, value: float) -> float:
        """Return the mean over ranks."""
        tensor = torch.tensor(value, dtype=torch.float64, device=self._device)
        dist.all_reduce(tensor)
        return float(tensor) / self.size

    def collect(self, value: float) -> list[float]:
        """Exchange a float64 of each rank."""
        own = torch.tensor([value], dtype=torch.float64, device=self._device)
        parts = [torch.zeros_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own)
        return torch.cat(parts).tolist()

    def gather(self, values: torch.Tensor, total: int) -> torch.Tensor:
        """Interleave the ranks' rows again."""
        longest = -(-total // self.size)
        padded = torch.zeros((longest, *values.shape[1:]), dtype=values.dtype, device=self._device)
        padded[: len(values)] = values
        parts = [torch.zeros_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        joined = torch.stack(parts, dim=1).flatten(0, 1)[:total]
        return joined.to(values.device)

    def agree(self, decision: Any) -> Any:
        """Broadcast from rank 0."""
        box = [decision]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def sync_buffers(self, model: nn.Module) -> None:
        """Broadcast running statistics from rank 0."""
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside DistributedDataParallel, or the model itself."""
    inner = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    return cast("nn.Module", inner)
