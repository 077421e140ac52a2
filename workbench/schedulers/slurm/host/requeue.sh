# Has Slurm start a job again under its number, as long as it remembers it and the job is to be as it was:
# NATIVE_ID TOKEN_PREFIX FOLDER HOW, with `as-it-was` or `anew` for HOW.
# Says `job`, or `forgotten` with the number that a new submission is to have.
native_id=$1 prefix=$2 folder=$3 how=$4
cd -- "$folder" || exit
found=$(squeue -h -u "$user" -t all -o "%F$field%T$field%k" |
    awk -F "$field" -v prefix="$prefix" 'index($3, prefix) == 1 { print $1, $2 }' | sort -n | tail -n 1)
if [ -n "$found" ]; then
    case ${found#* } in
    PENDING | RUNNING | REQUEUED | CONFIGURING)
        say job "${found% *}" "$(date +%s)"
        exit
        ;;
    esac
    rm -f link # a chain begins anew
    if [ "$how" = as-it-was ] && said=$(scontrol requeue "${found% *}" 2>&1); then
        say job "${found% *}" "$(date +%s)"
        exit
    fi
fi
number=1
while [ -L "submission-$number.owner" ]; do number=$((number + 1)); done
say forgotten "$number" "${said:-}"
