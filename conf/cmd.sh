# Where jobs run: a prefix of every CPU job and of every job that uses GPUs. Empty runs them here.
# Inside a Slurm allocation of one node, for example:
#   cpu_cmd="srun --ntasks=1 --cpus-per-task=8"
#   gpu_cmd="srun --ntasks=1 --gpus=1 --cpus-per-task=8"
# tools/launch.sh starts one torchrun a node by itself where the allocation has several nodes.
cpu_cmd=
gpu_cmd=

# Resources of the jobs that tools/submit.sh submits, as options of sbatch: of stages without a GPU,
# and of training and scoring.
cpu_job="--cpus-per-task=8"
gpu_job="--nodes=1 --gpus-per-node=1 --cpus-per-task=16"
# Of each job of the array of --array; empty: as gpu_job.
array_job=
