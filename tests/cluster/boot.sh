#!/bin/bash
# The first process of a host of the test cluster, in namespaces of its own:
#     boot.sh NAME STATE FOLDER...
# Gives the host its view of the file system, in which STATE is /srv, and the FOLDERs (where the Python
# that runs the tests lives) can be read by every user. Says "alive" when it may be given a network and
# goes on when it is sent a line; says "ready" when services can be started. Then it only reaps orphans.
set -eu
name=$1 state=$2
shift 2
echo alive
read -r _

hostname "$name"
mount --rbind "$state" /srv
kept=0
for folder in "$@"; do
    mount --bind "$folder" "/srv/software/$kept"
    kept=$((kept + 1))
done

mount --bind /srv/home /home
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /root
for file in /srv/etc/*; do
    mount --bind "$file" "/etc/${file##*/}"
done

kept=0
for folder in "$@"; do
    # Not again where it can be seen as it is, which is to say where nothing was put over it.
    [ -e "$folder/bin" ] || { mkdir -p "$folder"; mount --bind "/srv/software/$kept" "$folder"; }
    kept=$((kept + 1))
done

install -d -o munge -g munge -m 755 /run/munge
install -d -m 1777 /run/screen
install -d -m 755 /run/sshd
install -d -o mysql -g mysql -m 755 /run/mysqld
echo ready

exec >/dev/null 2>&1 </dev/null
while :; do sleep infinity & wait; done
