#!/bin/bash
# One extraction over several nodes, by a Ray cluster that lives as long as the job:
#   sbatch --nodes=4 deploy/slurm-ray.sh VIDEOS STORE [options of msnet extract]
# VIDEOS and STORE must be on storage that all nodes share. Where jobs need not wait for one another, slurm-array.sh is simpler.
#SBATCH --job-name=msnet-ray
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --time=12:00:00
#SBATCH --output=msnet-%j.log
# Ten minutes before the time is over, this script hands the signal on: videos in progress are finished and the job ends.
#SBATCH --signal=B:TERM@600
set -euo pipefail

if [ $# -lt 2 ] || [ -z "${SLURM_JOB_NODELIST:-}" ]; then
    echo "usage: sbatch --nodes=N $0 VIDEOS STORE [options of msnet extract]" >&2
    exit 1
fi
videos=$1 store=$2
shift 2

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
port=$((20000 + SLURM_JOB_ID % 20000))
# Nobody else on these nodes may give the cluster work: whoever can, can run code as you.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
export RAY_USAGE_STATS_ENABLED=0  # send nothing about the nodes; msnet sets it only for a Ray that it starts itself

step=(srun --overlap --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_PER_TASK")  # which srun no longer takes from sbatch

resources=(--num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")
"${step[@]}" --nodelist="$head" ray start --head --block --port="$port" "${resources[@]}" &
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
for _ in $(seq 60); do
    "${step[@]}" --nodelist="$head" ray status --address "$head:$port" >/dev/null 2>&1 && break
    sleep 2
done
for node in "${nodes[@]:1}"; do
    "${step[@]}" --nodelist="$node" ray start --block --address="$head:$port" "${resources[@]}" &
done

# Nodes that are late are used as soon as they have joined.
"${step[@]}" --nodelist="$head" msnet extract "$videos" --out "$store" --ray-address "$head:$port" "$@" &
extraction=$!
trap 'kill -TERM $extraction' TERM
code=0
wait "$extraction" || code=$?
if kill -0 "$extraction" 2>/dev/null; then  # the signal ended the wait; the videos in progress are being finished
    code=0
    wait "$extraction" || code=$?
fi
exit "$code"
