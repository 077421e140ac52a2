# What the scheduler and the quota of a host say: RECORD FIELD FOLDER [SBATCH_OPTION...]. Nothing is submitted.
record=$1 field=$2 folder=$3
shift 3
export LC_ALL=C TZ=UTC
# Not everywhere is there a `timeout`.
type timeout >/dev/null 2>&1 || timeout() { [ "$1" = -k ] && shift 2; shift; "$@"; }

tell() {
    local kind=$1 said code
    shift
    said=$(timeout -k 2 20 "$@" 2>&1)
    code=$?
    printf '%s%s%s%s%s%s\n' "$record" "$kind" "$field" "$code" "$field" "$said"
}

for command in sbatch squeue sacct; do tell "$command" "$command" --version </dev/null; done
tell queue squeue -h -u "$(id -un)" </dev/null
tell accounting sacct -X -n -P -S now-1minute --format=JobID </dev/null
[ $# -eq 0 ] || printf '#!/bin/sh\ntrue\n' | tell accepted sbatch --test-only "$@"
for command in quota mybalance; do
    type "$command" >/dev/null 2>&1 && tell "$command" "$command" </dev/null
done
if type lfs >/dev/null 2>&1; then tell lfs lfs quota -h -u "$(id -un)" "$folder" </dev/null; fi
printf '%send%s0%s\n' "$record" "$field" "$field"
