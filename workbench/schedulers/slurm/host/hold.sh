# Holds a job, or lets it go: ID PREFIX hold|release. One of ours is left alone where its comment does not
# begin with PREFIX, for then another job has got its number.
native_id=$1 prefix=$2 what=$3
if [ -n "$prefix" ]; then
    comment=$(squeue -h -u "$user" -t all -o "%F$field%k" | awk -F "$field" -v id="${native_id%%_*}" '$1 == id { print $2; exit }')
    case $comment in
    "$prefix"* | '' | '(null)') ;;
    mw:*)
        say gone
        exit
        ;;
    esac
fi
if said=$(scontrol "$what" "$native_id" 2>&1); then say done; else say failed "$said"; fi
