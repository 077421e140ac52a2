# Under which numbers runs were submitted, by what their submissions have left in their folders: for each run a
# line on standard input, `id TAB token TAB folder`, with a token of `mw:ID:`, or of `mw:ID:NUMBER` where only
# that submission counts. Only asks and reads: nothing is submitted, nothing in a folder is touched.

# The job whose comment begins with $1, where no answer of sbatch was kept; Slurm is asked once for all of them.
by_token() {
    [ -n "${listing:-}" ] || listing=$(
        squeue -h -u "$user" -t all -o "%F$field%k"
        sacct -X -n -P -u "$user" -S now-7days --delimiter="$field" --format=JobID,Comment 2>/dev/null
        echo asked
    )
    printf '%s\n' "$listing" |
        awk -F "$field" -v token="$1" 'index($2, token) == 1 { sub(/_.*/, "", $1); print $1 }' | tail -n 1
}

# The last submission in the folder $3 that came to an end.
tell() {
    most=0
    for each in "$3/submission-${2##*:}"*.status; do
        number=${each%.status}
        number=${number##*-}
        [ "$number" -le "$most" ] 2>/dev/null || [ ! -f "$each" ] || most=$number
    done
    place=$3/submission-$most
    status=$(cat "$place.status" 2>/dev/null)
    case $status in
    0) say job "$1" "$(tail -n 1 "$place.out")" "$(cat "$place.at")" ;;
    [1-9] | [1-9][0-9] | 1[01][0-9]) say refused "$1" "$(cat "$place.err")" ;;
    *)
        found=$(by_token "$2")
        if [ -n "$found" ]; then say job "$1" "$found" "$(date +%s)"; else say never "$1"; fi
        ;;
    esac
}

while IFS='	' read -r id token folder; do
    tell "$id" "$token" "$folder" </dev/null
done
