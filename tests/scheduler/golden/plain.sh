#!/bin/bash
#SBATCH --chdir="/scratch/me/it's here/digits/attempts/0003"
#SBATCH --dependency=singleton
#SBATCH --job-name=digits.0003.k3f9
#SBATCH --open-mode=append
#SBATCH --output="/scratch/me/it's here/digits/attempts/0003/logs/%j.out"
#SBATCH --requeue
#SBATCH --signal=USR2@90

submitit='/scratch/me/it'"'"'s here/digits/attempts/0003/submitit'
rm -f -- "$submitit/$SLURM_JOB_ID"_*.save_tmp
pickle="$submitit/${SLURM_JOB_ID}_submitted.pkl"
[ -e "$pickle" ] || ln -- "$submitit/attempt.pkl" "$pickle" || cp -- "$submitit/attempt.pkl" "$pickle"

export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --export=ALL --open-mode=append '--output=/scratch/me/it'"'"'s here/digits/attempts/0003/logs/%j.%t.out' '/home/me/my env/bin/python' -E -P -u -m submitit.core._submit '/scratch/me/it'"'"'s here/digits/attempts/0003/submitit'
