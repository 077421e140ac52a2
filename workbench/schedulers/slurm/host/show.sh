# Everything that Slurm says of a job: ID.
if said=$(scontrol show job "$1" 2>&1); then say done "$said"; else say failed "$said"; fi
