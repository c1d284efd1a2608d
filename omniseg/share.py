"""Which part of the work this process does, where `torchrun` started several."""

from __future__ import annotations

import os
from dataclasses import dataclass

from omniseg.errors import InputError

_ENVIRONMENT = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}


@dataclass(frozen=True)
class Share:
    """One of several processes, as `torchrun` numbers them; by default the only one.

    rank, world_size: number of this process, and how many there are.
    local_rank, local_world_size: the same of this machine.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1

    @classmethod
    def from_environment(cls) -> Share:
        """Read RANK, LOCAL_RANK, WORLD_SIZE and LOCAL_WORLD_SIZE; without them, all is done here.

        Raises:
            InputError: they are no numbers, or do not fit together.
        """
        values = {name: os.environ.get(name, default) for name, default in _ENVIRONMENT.items()}
        if not all(value.isdecimal() for value in values.values()):
            raise InputError(f"environment: expected numbers, got {values}; torchrun sets them, or none is set")
        share = cls(*(int(value) for value in values.values()))
        if share.rank >= share.world_size:
            raise InputError(f"environment: RANK {share.rank} must be less than WORLD_SIZE {share.world_size}")
        return share

    def part(self, n: int) -> slice:
        """This process's part of n things: one after another by rank, none larger by more than one."""
        each, more = divmod(n, self.world_size)
        begin = self.rank * each + min(self.rank, more)
        return slice(begin, begin + each + (self.rank < more))
