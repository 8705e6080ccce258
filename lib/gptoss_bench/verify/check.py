"""Define what a verification of a run says."""

from dataclasses import dataclass, field

CANNOT_FIND = (
    "What this cannot find: raw bytes and times that were forged together with everything that is derived from them, "
    "and a model, a server or a machine that was not what it said it was."
)


@dataclass(frozen=True, slots=True)
class Check:
    """One question about a run: what was checked, the reasons why it is refused, and what could not be checked."""

    name: str
    examined: str
    refused: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verification:
    """The checks of one run folder, in the order in which they were made; later ones need the earlier ones."""

    run_id: str
    checks: list[Check] = field(default_factory=list)

    @property
    def refused(self) -> list[str]:
        """The reasons of all checks; empty if the run is consistent with itself."""
        return [reason for check in self.checks for reason in check.refused]
