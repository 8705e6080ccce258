"""The part of a load that one of several client processes sends: which request ids and how many slots. Pure."""

from dataclasses import dataclass

from gptoss_client.errors import UsageError
from gptoss_client.plan import LoadPlan


@dataclass(frozen=True, slots=True)
class LoadShard:
    """Part `index`, from 0, of a load that `count` processes send together.

    It owns the request ids index, index + count, and so on, so that ids, prompts and arrival times are those of the
    undivided load for any `count`.
    """

    index: int = 0
    count: int = 1

    def first_id(self, at_least: int) -> int:
        """Return the first id of this part from `at_least` on."""
        return at_least + (self.index - at_least) % self.count

    def count_ids(self, begin: int, end: int) -> int:
        """Return how many of the ids from `begin` up to `end` belong to this part."""
        return len(range(self.first_id(begin), end, self.count))

    def share(self, total: int) -> int:
        """Return how many of so many slots belong to this part; what cannot be divided goes to the first parts."""
        return total // self.count + (self.index < total % self.count)

    def check(self, plan: LoadPlan) -> None:
        """Raise UsageError unless so many processes can send this plan together, each with a slot or more."""
        if self.count > 1 and plan.turns is not None:
            raise UsageError("conversations are held by one process: give workers or turns, not both")
        slots = plan.max_in_flight if plan.is_open else plan.concurrency
        if slots < self.count:
            raise UsageError(f"{self.count} workers need as many slots, not {slots}: use {slots} workers at most")


WHOLE_LOAD = LoadShard()
