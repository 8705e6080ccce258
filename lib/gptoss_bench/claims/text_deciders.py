"""Decide claims by the text or the script of the write-up, and name those that no measurement of this kit decides."""

import datetime
from typing import Annotated

from pydantic import Field, Strict

from gptoss_bench.claims.model import Claim, ClaimsRecord, Decider, Evidence, Text, Verdict, WriteUp, unknown_name
from gptoss_bench.claims.verdict_words import (
    CONTRADICTED,
    NO_BASIS,
    NOT_DELIVERED,
    NOT_MEASURED,
    OPINION,
    OUT_OF_SCOPE,
    SEEN,
    SOURCES,
    TEXT,
    UNREADABLE,
)
from gptoss_bench.validation import Mistake


class Reading(ClaimsRecord):
    """What was read in a source, and when."""

    source: Text
    """Where: repository and path, wheel and path, issue or document."""
    read: datetime.date
    found: Text

    @property
    def text(self) -> str:
        """Return what was found, with its source and the day."""
        return f"{self.found} ({self.source}, read {self.read})"


class Opinion(Decider):
    """No measurement decides the claim."""

    beside: str = ""
    """A remark on the claim."""

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return the verdict "opinion"."""
        return claim.verdict(NO_BASIS, OPINION, self.beside or "no measurement decides this")


class OutOfScope(Decider):
    """The claim is about something that this kit does not measure."""

    because: Text

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return the verdict "out of scope" with the reason."""
        return claim.verdict(NO_BASIS, OUT_OF_SCOPE, self.because)


class Unreadable(Decider):
    """The published numbers are in pictures or videos, which are no text."""

    because: Text

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return the verdict "unreadable" with the reason."""
        return claim.verdict(NO_BASIS, UNREADABLE, self.because)


class NotMeasured(Decider):
    """No run and no arithmetic of this kit decides the claim; what sources say is reported."""

    because: Text
    sources: Annotated[tuple[Reading, ...], Strict(False)] = ()

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return the verdict "not re-measured" with what is known."""
        text = "; ".join([self.because, *(one.text for one in self.sources)])
        return claim.verdict(SOURCES if self.sources else NO_BASIS, NOT_MEASURED, text, needs=claim.needs)


class Quoted(Decider):
    """The write-up is quoted: the claim is seen where the quote shows all that it says."""

    quote: Text
    """Words of the write-up at `lines`."""
    shows: Annotated[tuple[Text, ...], Strict(False), Field(min_length=1)]
    """What the quote has to contain."""
    times: Annotated[int, Field(ge=1)] = 1
    """How often each has to occur."""

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return whether the quote shows the claim."""
        missing = [part for part in self.shows if self.quote.count(part) != self.times]
        text = f"“{self.quote}”" + (f"; it does not show {', '.join(missing)}" if missing else "")
        return claim.verdict(TEXT, CONTRADICTED if missing else SEEN, text)


class Promised(Decider):
    """The write-up promises something that another claim says it did: not delivered where that is contradicted."""

    kept_by: str
    """The other claim."""

    def mistakes(self, write_up: WriteUp) -> list[Mistake]:
        """Return an unknown claim."""
        return unknown_name("kept_by", self.kept_by, write_up.by_id)

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return whether the promise was kept."""
        other = evidence.verdict_on(self.kept_by)
        word = NOT_DELIVERED if other.verdict == CONTRADICTED else SEEN
        return claim.verdict(TEXT, word, f"{other.number}, “{other.says}”: {other.text}")
