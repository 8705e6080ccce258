"""Name the phases of a run's telemetry, as sample tables and summaries store them."""

PHASE_BEFORE, PHASE_LOADING, PHASE_AFTER = "before load", "loading", "after load"
PHASE_WARMUP, PHASE_INFERENCE, PHASE_ENDED, PHASE_SWEEP = "warm-up", "during inference", "after inference", "sweep"
