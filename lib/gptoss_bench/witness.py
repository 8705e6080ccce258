"""Client and server beside each other: do two clocks tell the same of one request?"""

import pandas as pd

from gptoss_bench.metrics import measured

COLUMNS = ["what", "client", "server", "difference", "requests"]


def agreement(requests: pd.DataFrame) -> pd.DataFrame:
    """A row a quantity that both tell of the completed measured requests: both medians, and their relative difference.

    Rates are tokens per second, counts are tokens. `difference` is (client - server) / server of the medians. Empty
    where the server tells nothing of itself.
    """
    rows = measured(requests)
    told = rows[(rows["outcome"] == "completed") & rows["server_source"].notna()]
    # The first token ends the client's prefill and starts its decode: the server decodes one token more.
    pairs = {
        "decode rate, tokens/s": (
            1 / told["tpot_s"],
            told["server_eval_tokens"].astype("Float64") / told["server_eval_s"],
        ),
        "completion tokens": (
            told["completion_tokens"].astype("Float64"),
            told["server_eval_tokens"].astype("Float64"),
        ),
        "prompt and load, s": (told["ttft_s"], told["server_prompt_s"] + told["server_load_s"].fillna(0.0)),
    }
    table = []
    for what, (client, server) in pairs.items():
        both = client.notna() & server.notna()
        if both.any():
            ours, theirs = float(client[both].median()), float(server[both].median())
            difference = (ours - theirs) / theirs if theirs else None
            table.append([what, ours, theirs, difference, int(both.sum())])
    return pd.DataFrame(table, columns=COLUMNS)
