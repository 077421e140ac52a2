# What a host has to run jobs with: RECORD FIELD. Each answer is a record: its kind, whether it was given, its text.
# Sent to the host as `bash -lc TEXT`, because modules and conda are often known to login shells only.
record=$1 field=$2
user=$(id -un)
export LC_ALL=C TZ=UTC
# Not everywhere is there a `timeout`.
type timeout >/dev/null 2>&1 || timeout() { [ "$1" = -k ] && shift 2; shift; "$@"; }
unset SLURM_CLUSTERS SINFO_FORMAT SQUEUE_FORMAT SQUEUE_FORMAT2

# A command that hangs must not hold up the others.
tell() {
    local kind=$1 said code
    shift
    said=$(timeout -k 2 20 "$@" 2>&1 </dev/null)
    code=$?
    printf '%s%s%s%s%s%s\n' "$record" "$kind" "$field" "$code" "$field" "$said"
}

tell slurm sbatch --version
tell default_account sacctmgr -nP show user "$user" format=DefaultAccount
tell associations sacctmgr -nP show assoc where user="$user" format=Account,Partition,QOS,DefaultQOS,MaxWall
tell qos sacctmgr -nP show qos format=Name,MaxWall,MaxSubmitPU,MaxJobsPU
tell partitions scontrol -o show partition
tell nodes sinfo -h -e -o '%R|%c|%m|%G|%D'

if type module >/dev/null 2>&1; then
    for init in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh \
        /usr/share/lmod/lmod/init/bash "${MODULESHOME:-/nowhere}/init/bash"; do
        [ -r "$init" ] && printf '%smodule_init%s0%s%s\n' "$record" "$field" "$field" "$init" && break
    done
    # `module` is a function of a login shell, which `timeout` cannot run by itself.
    tell modules bash -lc 'module -t avail 2>&1'
fi
environments=
if type conda >/dev/null 2>&1; then
    environments=$(timeout 20 "${CONDA_EXE:-conda}" env list --json 2>/dev/null </dev/null)
    printf '%sconda%s%s%s%s\n' "$record" "$field" "$?" "$field" "$environments"
fi

folders=$(
    for each in "$HOME/rds/hpc-work" "${SCRATCH:-}" "${WORK:-}" "${PSCRATCH:-}" "/scratch/$user" "$HOME"; do
        [ -n "$each" ] && [ -d "$each" ] && [ -w "$each" ] && printf '%s\n' "$each"
    done | awk '!seen[$0]++'
)
printf '%s\n' "$folders" | while IFS= read -r folder; do
    printf '%sfolder%s0%s%s%s%s\n' "$record" "$field" "$field" "$folder" "$field" \
        "$(timeout 10 df -Pk -- "$folder" 2>/dev/null | awk 'NR == 2 { print $4 }')"
done

# Without importing torch, which takes a minute on a busy file system.
ask='import sys
try:
    from importlib.metadata import version
except ImportError:
    version = None
print(".".join(map(str, sys.version_info[:3])))
for name in ("torch", "mace-torch"):
    try:
        print(version(name))
    except Exception:
        print("")'
{
    printf '%s\n' "$environments" | sed -n 's/^ *"\(\/.*\)",\{0,1\}$/\1\/bin\/python/p'
    printf '%s\n' "$folders" | while IFS= read -r folder; do
        ls -d "$folder"/*/bin/python "$folder"/.venv/bin/python "$folder"/.virtualenvs/*/bin/python \
            "$folder"/*/envs/*/bin/python \
            "$folder"/mace-workbench/env/bin/python 2>/dev/null
    done
    command -v python3 python
} | awk '!seen[$0]++' | head -n 40 | while IFS= read -r python; do
    if [ -x "$python" ] && said=$(timeout 10 "$python" -c "$ask" 2>/dev/null </dev/null); then
        printf '%spython%s0%s%s%s%s\n' "$record" "$field" "$field" "$python" "$field" "$said"
    fi
done
printf '%send%s0%s\n' "$record" "$field" "$field"
