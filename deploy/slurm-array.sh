#!/bin/bash
# Fills one store by independent jobs, each with a GPU and its part of the videos:
#   sbatch --array=1-8 deploy/slurm-array.sh VIDEOS STORE [options of msnet extract]
# STORE must be on storage that all nodes share. Submitted again, it continues; jobs that ended are through in seconds.
#SBATCH --job-name=msnet
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --time=12:00:00
#SBATCH --output=msnet-%A-%a.log
# Ten minutes before the time is over, videos in progress are finished and the job ends.
#SBATCH --signal=TERM@600
set -euo pipefail

if [ $# -lt 2 ] || [ -z "${SLURM_ARRAY_TASK_COUNT:-}" ]; then
    echo "usage: sbatch --array=1-N $0 VIDEOS STORE [options of msnet extract]" >&2
    exit 1
fi
videos=$1 store=$2
shift 2

# srun has no cores of its own accord (Slurm 22.05 and later).
# --array=0-7 and --array=1-8 both count from 1 here.
part=$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN + 1))
exec srun --cpus-per-task="$SLURM_CPUS_PER_TASK" msnet extract "$videos" --out "$store" --part "$part/$SLURM_ARRAY_TASK_COUNT" "$@"
