"""Decide statements by how a server behaved in a run. A stand-in can show a behaviour; the verdict then says so."""

from typing import Annotated

from pydantic import Field, Strict

from gptoss_bench.claims.conditions import basis_of, behaviour_word, routing_notes
from gptoss_bench.claims.gate import interval_text, known_interval, refusals
from gptoss_bench.claims.model import (
    Claim,
    Decider,
    Evidence,
    RunRecord,
    Text,
    Verdict,
    WriteUp,
    format_number,
    unknown_name,
    unknown_path,
)
from gptoss_bench.claims.verdict_words import MEASURED, NO_BASIS, NOT_MEASURED
from gptoss_bench.runs import ServerProbes
from gptoss_bench.validation import Mistake, Wanted

Answer = Annotated[bool | int | str, Wanted("a text, a whole number, or true or false")]


class Formula(Decider):
    """Compare the median of a formula with the measured median of the same requests.

    One server on which it is outside the tolerance contradicts the formula; no number of servers on which it is inside
    makes a general rule of it. Only figures that the quality gate accepts are compared.
    """

    gpu: Text
    """The published GPU."""
    model: Text
    """The published model."""
    measured: Text
    """Dotted path of the measured median in the summary."""
    estimated: Text
    """Dotted path of the median by the formula."""
    requests: Annotated[int, Field(ge=0)]
    """The least number of requests that a run needs."""

    def mistakes(self, write_up: WriteUp) -> list[Mistake]:
        """Return the paths that no summary has."""
        return [*unknown_path(self.measured, "measured"), *unknown_path(self.estimated, "estimated")]

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return the verdict by the run that counts most: of gpt-oss before a stand-in, then outside the tolerance."""
        compared: list[tuple[bool, float, RunRecord]] = []
        refused = []
        for run in evidence.newest_first():
            actual, estimate = run.number(self.measured), run.number(self.estimated)
            n = run.number(f"{self.measured.partition('.')[0]}.n")
            if not actual or estimate is None or (n or 0) < self.requests:
                continue
            if reasons := [*refusals(run, self.measured), *refusals(run, self.estimated)]:
                refused.append(f"refused by the quality gate: run {run.run_id}: {reasons[0]}")
            else:
                compared.append((not run.stand_in, estimate / actual, run))
        if not compared:
            text = "; ".join(refused) or f"no run with {self.requests} streamed requests or more"
            return claim.verdict(NO_BASIS, NOT_MEASURED, text, needs=claim.needs)
        real = [one for one in compared if one[0]] or compared
        _, ratio, run = max(real, key=lambda one: abs(one[1] - 1))
        actual, estimate = run.number(self.measured) or 0.0, run.number(self.estimated) or 0.0
        interval, why = known_interval(run, self.measured)
        holds = abs(ratio - 1) <= claim.tolerance.relative
        n = run.number(f"{self.measured.partition('.')[0]}.n") or 0
        words = [
            f"medians of the same {n:g} requests: measured {format_number(actual)} s"
            f" {interval_text(interval) if interval else f'[no interval: {why}]'}, formula {format_number(estimate)} s:"
            f" {ratio:.2f} times",
            *(f"{other:.2f} times in run {one.run_id}" for _, other, one in compared if one is not run),
            "the ratio depends on server, load and answers, so no run shows a general rule",
            *routing_notes(run, self.measured, "s", evidence.newest_first()),
            *refused,
        ]
        basis, where = basis_of(run, self.gpu, self.model)
        detail = "" if basis == MEASURED else ", not general"
        word = behaviour_word(basis, holds=holds)
        return claim.verdict(
            basis, word, "; ".join(words), detail=detail, where=where, run=run, measured=actual, interval=interval
        )


class Probe(Decider):
    """Decide by the answer of a server to a probe."""

    gpu: Text
    """The published GPU."""
    model: Text
    """The published model."""
    key: Text
    """Name of the probe."""
    holds: Annotated[tuple[Answer, ...], Strict(False)] = ()
    """Answers with which the claim holds."""
    contains: str = ""
    """Instead of `holds`: what a list of answers contains where the claim holds."""
    engine: str = ""
    """Only this engine decides, "" for any."""
    asked: str = ""
    """A probe that must be true for the answer to count."""
    address: str = ""
    """Beginning of the server's URL."""
    beside: str = ""
    """A remark on the claim."""

    def mistakes(self, write_up: WriteUp) -> list[Mistake]:
        """Return the names of unknown probes, and a probe without an answer that holds."""
        found = [] if self.holds or self.contains else [Mistake(("holds",), "is missing; add it, or contains")]
        return [
            *found,
            *unknown_name("key", self.key, ServerProbes.model_fields),
            *unknown_name("asked", self.asked, ["", *ServerProbes.model_fields]),
        ]

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return the verdict by the newest answer that contradicts the claim, else by the newest."""
        seen, refused = [], []
        for run in evidence.newest_first():
            if run.probe(self.key) in (None, []) or (self.asked and not run.probe(self.asked)):
                continue
            if not (run.manifest.server.url or "").startswith(self.address):
                continue
            if reasons := refusals(run, ""):
                refused.append(f"refused by the quality gate: run {run.run_id}: {reasons[0]}")
            else:
                seen.append(run)
        decisive = [run for run in seen if not self.engine or run.used(self.engine)]
        others = [f"{run.engine}: {self._answer(run)} (run {run.run_id})" for run in seen if run not in decisive]
        remarks = [*others, *filter(None, [self.beside]), *refused]
        if not decisive:
            text = "; ".join(["no run asked a server for this", *remarks])
            return claim.verdict(NO_BASIS, NOT_MEASURED, text, needs=claim.needs)
        run = min(decisive, key=self._holds)  # a run that contradicts the claim goes first
        basis, where = basis_of(run, self.gpu, self.model)
        word = behaviour_word(basis, holds=self._holds(run))
        return claim.verdict(basis, word, "; ".join([self._answer(run), *remarks]), where=where, run=run)

    def _answer(self, run: RunRecord) -> str:
        if not self.contains:
            return f"the server answered {run.probe(self.key)}"
        return f"the server's response {'has' if self._holds(run) else 'lacks'} {self.contains}"

    def _holds(self, run: RunRecord) -> bool:
        answered = run.probe(self.key)
        return self.contains in answered if self.contains else answered in self.holds
