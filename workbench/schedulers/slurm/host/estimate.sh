# When the batch script on standard input would start; nothing is submitted.
if said=$(sbatch --test-only 2>&1); then say estimate "$said"; else say refused "$said"; fi
