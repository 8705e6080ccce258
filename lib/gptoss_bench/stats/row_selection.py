"""Select the rows of a request or event table that count, and give a request's decode rate by its server. Pure."""

import pandas as pd


def measured_rows(table: pd.DataFrame, phase: str = "measure") -> pd.DataFrame:
    """Return the rows of a phase, by default of the measured load."""
    return rows_where(table, table["phase"] == phase)


def completed_rows(requests: pd.DataFrame) -> pd.DataFrame:
    """Return the measured requests that completed."""
    rows = measured_rows(requests)
    return rows[rows["outcome"] == "completed"]


def rows_where(table: pd.DataFrame, which: pd.Series) -> pd.DataFrame:
    """Return the selected rows; the table itself if all are selected, since a copy may be large."""
    return table if which.all() else table[which]


def server_decode_rate(requests: pd.DataFrame) -> pd.Series:
    """Return the decode rate (tokens/s) of each request by its server; null where unknown or below two tokens.

    The server's decode time begins with the first token, so there is none for one token.
    """
    tokens, seconds = requests["server_eval_tokens"].astype("Float64"), requests["server_eval_s"]
    return tokens.where(tokens >= 2) / seconds.where(seconds > 0)
