# What is known of jobs: QUEUE_FORMAT ACCOUNT_FORMAT, with a line on standard input for each,
# `id TAB native_id TAB folder`. One command whatever their number. All jobs of the user are told of;
# accounting and folders are looked at only for those that the queue does not show as going on.
# Input and answer are compressed: ten thousand jobs are megabytes, and much of them says the same.
queue_format=$1 account_format=$2
work=$(mktemp -d) || exit
trap 'rm -rf "$work"' EXIT
cd "$work" && gzip -dc >jobs || exit

# One pass over the queue, while it comes in: the jobs that are not going on in it are left in `gone`.
# A job's number, tasks and state stand in the first three fields; a task of ours is known as NUMBER_TASK.
queue() {
    { squeue -h -u "$user" -t all -o "$queue_format" 2>errors || : >failed; } | awk -F "$field" -v start="${record}queue" '
        FILENAME == "jobs" {
            split($0, part, "\t")
            line[part[1]] = $0
            number[part[1]] = part[2]
            if (sub(/_.*/, "", part[2])) array[part[2]] = 1
            next
        }
        $1 == start && $4 !~ /^(BOOT_FAIL|CANCELLED|COMPLETED|DEADLINE|FAILED|NODE_FAIL|OUT_OF_MEMORY|PREEMPTED|TIMEOUT)/ {
            alive[$2] = 1
            if ($2 in array) mark($2, $3)
        }
        { print }
        END { for (id in line) if (!(number[id] in alive)) print line[id] >"gone" }
        function mark(array_id, tasks, n, i, range, end, task) {
            sub(/%.*/, "", tasks)
            n = split(tasks, range, ",")
            for (i = 1; i <= n; i++) {
                split(range[i] "-" range[i], end, "-")
                for (task = end[1] + 0; task <= end[2] + 0; task++) alive[array_id "_" task] = 1
            }
        }
    ' jobs -
    [ ! -e failed ] || say failed squeue "$(cat errors)"
}

# What accounting and folders know of the jobs in `gone`. An array is asked for as a whole: its tasks that
# never started are known by its number alone.
ended() {
    numbers=$(awk -F '\t' '
        $2 ~ /^[0-9]+(_[0-9]+)?$/ {
            sub(/_.*/, "", $2)
            if (!asked[$2]++) { printf "%s%s", comma, $2; comma = "," }
        }
    ' gone)
    if [ -n "$numbers" ]; then
        if sacct -X -n -P --delimiter="$field" --format="$account_format" -j "$numbers" >accounts 2>errors; then
            say accounts "$(cat accounts)"
        else
            say failed sacct "$(cat errors)"
        fi
    fi
    while IFS='	' read -r id native_id folder; do
        if [ -f "$folder/exit.json" ]; then
            IFS= read -r line <"$folder/exit.json"
            say sentinel "$id" "$line"
        fi
    done <gone
}

{
    queue
    [ ! -s gone ] || ended
    say now "$(date +%s)"
} | gzip -1c
