#!/bin/bash
# One job of the array reads one part of the films, and leaves its table in a folder that all nodes share:
#
#     sbatch --partition=cpu --array=1-16 shards.sh archive/ parts/ [OPTION OF predict]...
#
# What an earlier job of the same part has finished is kept, so the same command, given again, does what is missing.
#SBATCH --job-name=cxrzero
#SBATCH --array=1-16
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=04:00:00
#SBATCH --output=cxrzero-%A_%a.log
set -euo pipefail
films=$1 parts=$2
shift 2
part="$parts/part-$SLURM_ARRAY_TASK_ID.csv"

[[ -e $part ]] && exit
mkdir -p "$parts"
# --no-cache: the cache is a file of SQLite, which several machines must not share.
cxrzero predict "$films" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --out "$part" \
    --workers "$SLURM_CPUS_PER_TASK" --no-cache --overwrite --quiet "$@" || code=$?
# 3 says that some films cannot be read, which their rows say too: the part is finished.
((${code:-0} == 3)) || exit "${code:-0}"
