# Submits the run in a folder once, however often this is asked for: FOLDER NUMBER TOKEN NAME BYTES,
# with the batch script of so many bytes on standard input.
#
# Sbatch is run by a process apart, so that a cut connection does not end it half-way. Whoever makes the
# link `submission-NUMBER.owner`, which names its host and process, is the one to submit; it leaves what
# sbatch said in `.out` and `.err`, and in the end `.status`.
folder=$1 number=$2 token=$3 name=$4 bytes=$5
place=submission-$number

fail() {
    say refused "$1"
    exit 0
}
message=$(mkdir -p -- "$folder" 2>&1) || fail "$message"
cd -- "$folder" || exit
if [ "$bytes" -gt 0 ]; then
    part=.run.sh.$$
    message=$({ cat >"$part" && chmod 700 "$part"; } 2>&1) || {
        rm -f "$part"
        fail "$message"
    }
    # Cut short on the way: whoever sent it is not there any more.
    [ "$(wc -c <"$part")" -eq "$bytes" ] || {
        rm -f "$part"
        exit 1
    }
    if [ -L "$place.owner" ]; then rm -f "$part"; else mv -f "$part" run.sh; fi
fi

submit() {
    place=$place token=$token name=$name setsid sh -c '
        ln -s "$(hostname) $$" "$place.owner" 2>/dev/null || exit 0
        date +%s >"$place.at"
        timeout 90 sbatch --parsable --job-name="$name" --comment="$token" run.sh "$token" \
            >"$place.out" 2>"$place.err"
        echo $? >"$place.status.part"
        mv "$place.status.part" "$place.status"
    ' >/dev/null 2>&1 </dev/null &
    wait $!
}

# For at most two minutes after it began the owner may be at work still, on whatever host.
is_recent() { [ -n "$(find "$place.owner" -maxdepth 0 -mmin -2)" ]; }
is_at_work() {
    set -- $(readlink "$place.owner")
    if [ "${1:-}" = "$(hostname)" ]; then kill -0 "$2" 2>/dev/null; else is_recent; fi
}

# Looks for a job that Slurm took without its answer getting through.
find_job() {
    found=$(job_of_token "$token")
    [ -n "$found" ] || return 1
    say job "$found" "$(cat "$place.at" 2>/dev/null || date +%s)"
}

[ -L "$place.owner" ] || submit
[ -L "$place.owner" ] || fail "$(touch "$place.try" 2>&1 || echo "$folder cannot be written")"
turn=0
while [ ! -f "$place.status" ] && [ $turn -lt 40 ] && is_at_work; do
    turn=$((turn + 1))
    sleep 0.5
done

status=$(cat "$place.status" 2>/dev/null)
said=$(cat "$place.err" 2>/dev/null)
case $status:$said in
0:*)
    say job "$(tail -n 1 "$place.out")" "$(cat "$place.at")"
    exit
    ;;
:* | 12[489]:* | 1[3-9][0-9]:* | *[Tt]imed\ out* | *contact\ slurm* | *transmitted* | *onnection\ re* | *standby* | *nexpected\ message*)
    find_job && exit
    if [ -z "$status" ] && is_at_work; then
        say unclear "an earlier submission of this run is still under way"
    elif is_recent; then
        say unclear "${said:-an earlier submission of this run was cut short}"
    elif mv "$place.owner" "$place.lost.$$" && rm -f "$place.status"; then
        # Its end is certain by now, and Slurm knows of no job: once more.
        submit
        if [ "$(cat "$place.status" 2>/dev/null)" = 0 ]; then
            say job "$(tail -n 1 "$place.out")" "$(cat "$place.at")"
        else
            find_job || say unclear "$(cat "$place.err" 2>/dev/null)"
        fi
    fi
    ;;
*)
    # Final for this submission: a job that comes back from the dead days later would surprise.
    fail "$said"
    ;;
esac
