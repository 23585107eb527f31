#!/bin/bash
#SBATCH --chdir="/scratch/me/it's here/digits/attempts/0003"
#SBATCH --comment="says \"hi\" \\ # and `so` $on"
#SBATCH --cpus-per-task=8
#SBATCH --dependency=afterany:41,singleton
#SBATCH --gpus-per-node=2
#SBATCH --job-name=digits.0003.k3f9
#SBATCH --open-mode=append
#SBATCH --output="/scratch/me/it's here/digits/attempts/0003/logs/%j.out"
#SBATCH --partition=gpu
#SBATCH --requeue
#SBATCH --signal=USR2@300
#SBATCH --time=1-12:00:00

submitit='/scratch/me/it'"'"'s here/digits/attempts/0003/submitit'
rm -f -- "$submitit/$SLURM_JOB_ID"_*.save_tmp
pickle="$submitit/${SLURM_JOB_ID}_submitted.pkl"
[ -e "$pickle" ] || ln -- "$submitit/attempt.pkl" "$pickle" || cp -- "$submitit/attempt.pkl" "$pickle"

# setup
type module >/dev/null 2>&1 || { submit_path=$PATH; [ -r /etc/profile ] && . /etc/profile; PATH=$PATH:$submit_path; }
module load cuda/12.4
source ~/env/bin/activate

export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --export=ALL --open-mode=append '--output=/scratch/me/it'"'"'s here/digits/attempts/0003/logs/%j.%t.out' --cpus-per-task=8 '/home/me/my env/bin/python' -E -P -u -m submitit.core._submit '/scratch/me/it'"'"'s here/digits/attempts/0003/submitit'
