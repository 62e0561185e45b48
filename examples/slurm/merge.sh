#!/bin/bash
# Joins the parts that shards.sh has left, once all of its jobs have ended well:
#
#     sbatch --partition=cpu --dependency=afterok:JOB merge.sh parts/ predictions.csv
#SBATCH --job-name=cxrzero-merge
#SBATCH --mem=4G
#SBATCH --time=01:00:00
#SBATCH --output=cxrzero-%j.log
set -euo pipefail

cxrzero merge "$1"/part-*.csv --out "$2" || (($? == 3))
