# What the scripts beside this one begin with. They are sent to the cluster's login node as `sh -c TEXT`;
# $record and $field are separators that nobody can have foreseen.
record=$1 field=$2
shift 2
user=$(id -un)
export LC_ALL=C TZ=UTC SLURM_TIME_FORMAT=%s SLURM_BITSTR_LEN=0
# What the user has set for their own use would change what the commands print.
for variable in $(env | sed -n 's/^\(S[A-Z]*_[A-Z0-9_]*\)=.*/\1/p'); do
    case $variable in SQUEUE_* | SACCT_* | SBATCH_* | SCANCEL_* | SLURM_JOB_* | SLURM_CLUSTERS) unset "$variable" ;; esac
done

say() {
    printf '%s%s' "$record" "$1"
    shift
    for each in "$@"; do printf '%s%s' "$field" "$each"; done
    printf '\n'
}

# The number of the job, or of the array, whose comment is $1; nothing where there is none.
job_of_token() {
    {
        squeue -h -u "$user" -t all -o "%F$field%k"
        sacct -X -n -P -u "$user" -S now-7days --delimiter="$field" --format=JobID,Comment 2>/dev/null
    } | awk -F "$field" -v token="$1" '$2 == token { sub(/_.*/, "", $1); print $1; exit }'
}
