"""Evaluation of prediction tables: metrics with intervals, thresholds, calibration, readers, comparisons, subgroups.

options.py         what is asked
run.py             one evaluation from tables to findings
predict_first.py   a folder of images instead of a table
load.py, columns.py, match.py, dataset.py   from tables to labels and scores in the same rows
join.py, ways.py, keys.py   which row belongs to which, the ways to tell, and what of a cell is compared
repeats.py         several rows of labels for one film
discrimination.py, operating.py, readers.py, compare.py, subgroups.py   what is found
probabilities.py   how far probabilities are frequencies
errors.py          the films of the worst errors
calibrate.py       thresholds and calibrators from it
caveats.py         what its reader must be told
outputs.py         metrics.csv and metrics.json
boxes/             maps beside boxes, which has stages of its own
"""
