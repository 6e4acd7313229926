# Keeps one machine: starts its first process, waits for that to end, removes what is left.
#
# stdin is a pipe whose other end only the owner holds. The machine's first process reads it, so
# the machine ends when the owner closes the pipe, and also when the owner dies, however it dies.
# The lock says that the directory is in use, to whoever looks for leftovers.
directory=$1
init=$2
name=${directory##*/}

exec 9<"$directory/lock"
flock --shared 9

# A program in the background has /dev/null for its stdin, so the pipe gets another number first.
exec 8<&0

unshare --net --mount --propagation private --pid --fork --kill-child=KILL --mount-proc \
    bash -c "$init" init "$directory" <&8 8<&- &
echo $!
exec >/dev/null
wait $!

# Every process of the machine is dead now, and its mounts and interfaces died with it. A cgroup
# can be busy for another moment.
tries=0
while [ $tries -lt 100 ]; do
    for cgroup in /sys/fs/cgroup/"$name" /sys/fs/cgroup/*/"$name"; do
        [ -d "$cgroup" ] && find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null
    done
    left=$(find /sys/fs/cgroup -maxdepth 2 -name "$name")
    [ -z "$left" ] && break
    tries=$((tries + 1))
    sleep 0.1
done
rm -rf --one-file-system -- "$directory"
