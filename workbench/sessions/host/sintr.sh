# Starts the site's own command for interactive sessions where no terminal of anybody's can take it along:
# TOKEN PLACE COMMAND..., on the login node. Says `job NUMBER HOST KIND` once its job is in the queue, else
# `failed` and what the command has printed.
token=$1 place=$2
shift 2
umask 077
mkdir -- "$place" || exit
user=$(id -un)

quoted=''
for word in "$@"; do quoted="$quoted '$(printf '%s' "$word" | sed "s/'/'\\\\''/g")'"; done

if command -v tmux >/dev/null 2>&1; then
    kind=tmux
    tmux -S "$place/tmux" -f /dev/null new-session -d -s sintr -x 200 -y 50 "exec$quoted" \; \
        set-option remain-on-exit on || exit
elif command -v screen >/dev/null 2>&1; then
    kind=screen
    mkdir -p "$place/screen" && chmod 700 "$place/screen"
    SCREENDIR="$place/screen" screen -d -m -L -Logfile "$place/log" -S sintr sh -c "exec$quoted" || exit
else
    kind=none
    setsid script -qfc "exec$quoted" "$place/log" >/dev/null 2>&1 </dev/null &
fi

printed() {
    if [ $kind = tmux ]; then tmux -S "$place/tmux" capture-pane -p -t sintr; else cat "$place/log"; fi 2>/dev/null
}
has_ended() {
    case $kind in
    tmux) [ "$(tmux -S "$place/tmux" display-message -p -t sintr '#{pane_dead}' 2>/dev/null)" != 0 ] ;;
    screen) ! SCREENDIR="$place/screen" screen -ls | grep -q sintr ;;
    none) ! kill -0 $! 2>/dev/null ;;
    esac
}

turn=0
while [ $turn -lt 120 ]; do
    found=$(squeue -h -u "$user" -t all -o '%A %k' | awk -v token="$token" '$2 == token { print $1; exit }')
    if [ -n "$found" ]; then
        # Its end is to be that of the terminal, once it has not failed to begin.
        [ $kind != tmux ] || tmux -S "$place/tmux" set-option -t sintr remain-on-exit off
        echo "job $found $(hostname) $kind"
        exit
    fi
    if has_ended; then break; fi
    turn=$((turn + 1))
    sleep 0.25
done
echo "failed $(printed | sed '/^[[:space:]]*$/d; /^Pane is dead/d' | tail -n 2 | tr '\n' ' ')"
[ $kind != tmux ] || tmux -S "$place/tmux" kill-server 2>/dev/null
