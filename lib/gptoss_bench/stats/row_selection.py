"""Select the rows of a request or event table that count: those of one phase, and the completed requests. Pure."""

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
