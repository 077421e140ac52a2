# What is known of jobs: QUEUE_FORMAT ACCOUNT_FORMAT, with a line on standard input for each,
# `id TAB native_id TAB folder`. One command whatever their number. All jobs of the user are told of;
# accounting and folders are looked at only for those that the queue does not show as going on.
queue_format=$1 account_format=$2
jobs=$(cat)
errors=$(mktemp) || exit
trap 'rm -f "$errors"' EXIT

queue=$(squeue -h -u "$user" -t all -o "$queue_format" 2>"$errors") || say failed squeue "$(cat "$errors")"
[ -z "$queue" ] || printf '%s\n' "$queue"

# By number, tasks and state, which stand in the first three fields; a task is known as NUMBER_TASK.
gone=$(
    {
        printf '%s\n' "$jobs"
        printf '%squeue\n%s\n' "$record" "$queue"
    } | awk -F "$field" -v record="$record" '
        index($0, record) != 1 && !queue && $0 != "" {
            split($0, part, "\t")
            line[part[1]] = $0
            number[part[1]] = part[2]
            if (sub(/_.*/, "", part[2])) array[part[2]] = 1
        }
        index($0, record) == 1 { queue = 1 }
        index($0, record "queue") == 1 {
            if ($4 ~ /^(BOOT_FAIL|CANCELLED|COMPLETED|DEADLINE|FAILED|NODE_FAIL|OUT_OF_MEMORY|PREEMPTED|TIMEOUT)/) next
            alive[$2] = 1
            if (!($2 in array)) next
            sub(/%.*/, "", $3)
            n = split($3, range, ",")
            for (i = 1; i <= n; i++) {
                split(range[i] "-" range[i], end, "-")
                for (task = end[1] + 0; task <= end[2] + 0; task++) alive[$2 "_" task] = 1
            }
        }
        END { for (id in line) if (!(number[id] in alive)) print line[id] }
    '
)
# An array is asked for as a whole: tasks that never started are known by its number alone.
numbers=$(printf '%s\n' "$gone" | awk -F '\t' '
    $2 ~ /^[0-9]+(_[0-9]+)?$/ && sub(/_.*/, "", $2) + 1 && !asked[$2]++ { printf "%s%s", comma, $2; comma = "," }
')
if [ -n "$numbers" ]; then
    if accounts=$(sacct -X -n -P --delimiter="$field" --format="$account_format" -j "$numbers" 2>"$errors"); then
        say accounts "$accounts"
    else
        say failed sacct "$(cat "$errors")"
    fi
    printf '%s\n' "$gone" | while IFS='	' read -r id native_id folder; do
        if [ -f "$folder/exit.json" ]; then
            IFS= read -r line <"$folder/exit.json"
            say sentinel "$id" "$line"
        fi
    done
fi
say now "$(date +%s)"
