# Cancels a job, if it is the one that is meant and not another that has got its number: NATIVE_ID PREFIX.
# Of an array NATIVE_ID names tasks: `12_3`, `12_[0-3,7]`.
native_id=$1 prefix=$2
comment=$(squeue -h -u "$user" -t all -o "%F$field%k" | awk -F "$field" -v id="${native_id%%_*}" '$1 == id { print $2; exit }')
case $comment in
"$prefix"* | '' | '(null)') ;;
mw:*)
    say gone
    exit
    ;;
esac
if said=$(scancel --user="$user" "$native_id" 2>&1); then
    say done
else
    case $said in
    *'Invalid job id'* | *'already completed'* | *'already complet'*) say gone ;;
    *) say failed "$said" ;;
    esac
fi
