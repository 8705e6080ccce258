"""Map each `decider` of a claims file to the class that decides the claim."""

from gptoss_bench.claims.arithmetic_deciders import Arithmetic, Count, Fits
from gptoss_bench.claims.figure_deciders import Measured
from gptoss_bench.claims.model import Decider
from gptoss_bench.claims.run_deciders import Formula, Probe
from gptoss_bench.claims.survey_deciders import (
    InsertedToken,
    PackedWeights,
    ReportedBySources,
    ResponseField,
    SinkSupport,
)
from gptoss_bench.claims.text_deciders import NotMeasured, Opinion, OutOfScope, Promised, Quoted, Unreadable

DECIDERS: dict[str, type[Decider]] = {
    "measured": Measured,
    "formula": Formula,
    "probe": Probe,
    "fits": Fits,
    "arithmetic": Arithmetic,
    "sink_support": SinkSupport,
    "packed_weights": PackedWeights,
    "response_field": ResponseField,
    "reported": ReportedBySources,
    "inserted_token": InsertedToken,
    "quoted": Quoted,
    "promised": Promised,
    "count": Count,
    "not_measured": NotMeasured,
    "opinion": Opinion,
    "out_of_scope": OutOfScope,
    "unreadable": Unreadable,
}
