# Under which numbers runs were submitted, by what their submissions have left in their folders: for each run a
# line on standard input, `id TAB prefix TAB most TAB folder`, with the prefix of its tokens, `mw:ID:`, and the
# number of its last submission, or 0 where any may be that. Says `job`, `refused`, `never`, or `unclear` while
# Slurm cannot be asked. Only asks and reads: nothing is submitted, nothing in a folder is touched.

# What Slurm knows of the user's jobs; it is asked once.
ask_slurm() {
    [ -n "${listing:-}" ] || listing=$(
        squeue -h -u "$user" -t all -o "%F$field%k" || echo "unclear$field"
        sacct -X -n -P -u "$user" -S now-7days --delimiter="$field" --format=JobID,Comment 2>/dev/null
        echo asked
    )
}

# The job whose comment is $1.
by_token() {
    printf '%s\n' "$listing" | awk -F "$field" -v token="$1" '
        $2 == token { sub(/_.*/, "", $1); found = $1 }
        $1 == "unclear" { unclear = $1 }
        END { print (found ? found : unclear) }
    '
}

# From the newest submission back: what was refused has left the one before as it was.
tell() {
    refused=
    for number in $(ls -- "$4" | sed -n 's/^submission-\([0-9]*\)\.owner$/\1/p' | sort -rn); do
        [ "$3" -eq 0 ] || [ "$number" -le "$3" ] || continue
        place=$4/submission-$number
        said=$(cat "$place.err" 2>/dev/null)
        case $(cat "$place.status" 2>/dev/null):$said in
        0:*)
            say job "$1" "$(tail -n 1 "$place.out")" "$(cat "$place.at")"
            return
            ;;
        # As in submit.sh: its answer says nothing of what became of it.
        :* | 12[489]:* | 1[3-9][0-9]:* | *[Tt]imed\ out* | *contact\ slurm* | *transmitted* | *onnection\ re* | *standby* | *nexpected\ message*)
            ask_slurm
            found=$(by_token "$2$number")
            case $found in
            unclear)
                say unclear "$1"
                return
                ;;
            ?*)
                say job "$1" "$found" "$(cat "$place.at")"
                return
                ;;
            esac
            ;;
        *) refused=${refused:-$said} ;;
        esac
    done
    if [ -n "$refused" ]; then say refused "$1" "$refused"; else say never "$1"; fi
}

while IFS='	' read -r id prefix most folder; do
    tell "$id" "$prefix" "$most" "$folder" </dev/null
done
