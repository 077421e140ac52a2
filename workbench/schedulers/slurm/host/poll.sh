# What is known of jobs: QUEUE_FORMAT ACCOUNT_FORMAT, with a line on standard input for each,
# `id TAB native_id TAB folder`. One command whatever their number. All jobs of the user are told of;
# accounting and folders are looked at only for those that the queue does not show as going on.
queue_format=$1 account_format=$2
jobs=$(cat)
errors=$(mktemp) || exit
trap 'rm -f "$errors"' EXIT

queue=$(squeue -h -u "$user" -t all -o "$queue_format" 2>"$errors") || say failed squeue "$(cat "$errors")"
[ -z "$queue" ] || printf '%s\n' "$queue"

# By number and state, which stand in the first and third field.
gone=$(
    {
        printf '%s\n' "$queue"
        printf '%sjobs\n%s\n' "$record" "$jobs"
    } | awk -F "$field" -v record="$record" '
        index($0, record "queue") == 1 {
            if ($4 !~ /^(BOOT_FAIL|CANCELLED|COMPLETED|DEADLINE|FAILED|NODE_FAIL|OUT_OF_MEMORY|PREEMPTED|TIMEOUT)/)
                alive[$2] = 1
        }
        index($0, record "jobs") == 1 { listing = 1; next }
        listing && $0 != "" { split($0, part, "\t"); if (!(part[2] in alive)) print }
    '
)
numbers=$(printf '%s\n' "$gone" | awk -F '\t' '$2 ~ /^[0-9]+$/ { printf "%s%s", comma, $2; comma = "," }')
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
