"""The decode rate of each request by the server's word and by the client's."""

import pandas as pd

from gptoss_bench.metrics import measured

SERVER = "server: its tokens / its decode time"
CLIENT = "client: 1 / TPOT"
AT_LEAST = "client, at least: (events - 1) / (last - first)"
AT_MOST = "client, at most: (tokens - 1) / (last - first)"


def decode_rates(requests: pd.DataFrame) -> pd.DataFrame:
    """Decode rate (tokens/s) of each completed measured request, a row a request and witness: `witness`, `tok_s`.

    Where the tokens of the first event are not known, and so TPOT is not, the client's rate lies between two bounds:
    each event after the first brought one token at least, and the first one brought one at least.
    """
    rows = measured(requests)
    rows = rows[rows["outcome"] == "completed"]
    span_s = (rows["e2e_s"] - rows["ttft_s"]).where(lambda s: s > 0)
    rates = {SERVER: rows["server_eval_tokens"].astype("Float64") / rows["server_eval_s"].where(lambda s: s > 0)}
    if rows["tpot_s"].notna().any():
        rates[CLIENT] = 1 / rows["tpot_s"]
    else:
        rates[AT_LEAST] = (rows["output_events"] - 1) / span_s
        rates[AT_MOST] = (rows["completion_tokens"].astype("Float64") - 1) / span_s
    table = pd.DataFrame(rates, dtype="float64").melt(var_name="witness", value_name="tok_s")
    return table.dropna(ignore_index=True)
