"""Statistics on scores and truth, in NumPy: metrics, intervals, resampling, thresholds and calibrators.

    metrics.py      rank metrics, confusion tables, Brier score and reliability
    influence.py    each case's influence on a metric, the base of all analytic intervals
    agreement.py    two scores of the same rows without a truth: rank correlations, kappa, McNemar
    intervals.py    Wald, logit, Fisher, Wilson, Newcombe and percentile intervals; p-values, Holm
    resample.py     bootstraps
    thresholds.py   decision thresholds
    calibrators.py  scores → frequencies
    regions.py      boxes on a film, and maps against them
    localisation.py what a map must be better than, and where it is cut

What this package does not know: files, tables, models.
"""
