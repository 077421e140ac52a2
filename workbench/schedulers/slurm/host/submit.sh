# Submits the run in a folder once, however often this is asked for: FOLDER NUMBER TOKEN NAME BYTES,
# with the batch script of so many bytes on standard input.
#
# `submission-NUMBER` is made by whoever submits and by nobody else. Sbatch runs apart from this process,
# so that a connection that is cut does not end it half-way, and leaves its answer there.
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
    message=$({ cat >"$part"; } 2>&1) && message=$(chmod 700 "$part" 2>&1) || { rm -f "$part"; fail "$message"; }
    # Cut short on the way: whoever sent it is not there any more.
    [ "$(wc -c <"$part")" -eq "$bytes" ] || { rm -f "$part"; exit 1; }
    [ -d "$place" ] && rm -f "$part" || mv -f "$part" run.sh
fi

# What the place says; whether it says anything that counts.
answered() {
    [ -f "$place/status" ] || return 1
    at=$(cat "$place/at")
    if [ "$(cat "$place/status")" = 0 ]; then
        say job "$(tail -n 1 "$place/out")" "$at"
    elif found=$(job_of_token "$token") && [ -n "$found" ]; then
        say job "$found" "$at"
    else
        return 1
    fi
}

submit() {
    date +%s >"$place/at"
    printf '%s %s\n' "$(hostname)" $$ >"$place/by"
    place=$place token=$token name=$name setsid sh -c '
        timeout 90 sbatch --parsable --job-name="$name" --comment="$token" run.sh "$token" \
            >"$place/out" 2>"$place/err" </dev/null
        echo $? >"$place/status.part"
        mv "$place/status.part" "$place/status"
    ' >/dev/null 2>&1 </dev/null &
    wait $!
}

if mkdir "$place" 2>/dev/null; then
    submit
    answered && exit
    said=$(cat "$place/err")
    case $said in
    *[Tt]imed\ out* | *contact\ slurm* | *transmitted* | *onnection\ re* | *standby* | *nexpected\ message* | '') ;;
    *)
        rm -rf "$place"
        fail "$said"
        ;;
    esac
    say unclear "$said"
    exit
fi
[ -d "$place" ] || fail "$(mkdir "$place" 2>&1)"

# Somebody was here before. They may be waiting for Slurm still.
turn=0
while [ ! -f "$place/status" ] && [ $turn -lt 20 ] && [ -n "$(find "$place" -maxdepth 0 -mmin -2)" ]; do
    turn=$((turn + 1))
    sleep 0.5
done
answered && exit
found=$(job_of_token "$token")
if [ -n "$found" ]; then
    say job "$found" "$(date +%s)"
elif [ -n "$(find "$place" -maxdepth 0 -mmin -2)" ]; then
    say unclear "an earlier submission of this run is still under way"
elif mv "$place" "$place.lost.$$" && mkdir "$place"; then
    # Its end is certain by now, and Slurm knows of no job.
    submit
    answered || say unclear "$(cat "$place/err")"
else
    say unclear "somebody else submits this run at this moment"
fi
