"""Screen a folder of films, and work on with pandas: `python pandas_table.py FOLDER`."""

from __future__ import annotations

import sys

import pandas

from cxrzero import Screener

FINDINGS = ["pleural effusion", "pneumonia", "cardiomegaly", "pneumothorax"]


def screen(folder: str) -> pandas.DataFrame:
    """The prediction table of a folder: a row for each film, a column for each finding."""
    return pandas.DataFrame(Screener().predict(folder, FINDINGS))


def highest(table: pandas.DataFrame, top: int = 3) -> pandas.DataFrame:
    """The films with the highest number for each finding: finding, path, number."""
    films = table[table["status"] == "ok"]
    long = films.melt(id_vars="path", value_vars=FINDINGS, var_name="finding", value_name="number")
    return long.sort_values(["finding", "number"], ascending=[True, False]).groupby("finding").head(top)


if __name__ == "__main__":
    found = screen(sys.argv[1])
    print(found["status"].value_counts().to_string())
    print(highest(found).to_string(index=False))
