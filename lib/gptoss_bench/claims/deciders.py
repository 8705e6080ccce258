"""Map each `decider` of a claims file to the class that decides the claim."""

from gptoss_bench.claims.arithmetic_deciders import Arithmetic, Count, Fits, InsertedToken, NotTestable, Opinion
from gptoss_bench.claims.figure_deciders import Measured
from gptoss_bench.claims.model import Decider
from gptoss_bench.claims.run_deciders import Formula, Probe, ServerReports, VersionSurvey

DECIDERS: dict[str, type[Decider]] = {
    "opinion": Opinion,
    "not_testable": NotTestable,
    "arithmetic": Arithmetic,
    "fits": Fits,
    "inserted_token": InsertedToken,
    "count": Count,
    "measured": Measured,
    "formula": Formula,
    "version_survey": VersionSurvey,
    "probe": Probe,
    "server_reports": ServerReports,
}
