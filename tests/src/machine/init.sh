# First process of a machine: gives it the directories and file systems that a host has, and then
# lives until the owner's end of the pipe closes. bash, because it reaps adopted children.
set -eu
directory=$1

# Copies of the outer mounts would keep others' namespaces and containers' root file systems busy.
findmnt --noheadings --raw --output TARGET --types nsfs,overlay | tac | while read -r target; do
    [ "$target" = / ] || umount --lazy "$target"
done

# A sysfs that shows this network namespace; what else lies below /sys is taken over.
mkdir "$directory/sys"
kept="fs/cgroup kernel/security kernel/tracing kernel/debug"
for part in $kept; do
    if mountpoint --quiet "/sys/$part"; then
        mkdir -p "$directory/sys/$part"
        mount --rbind "/sys/$part" "$directory/sys/$part"
    fi
done
mount -t sysfs sysfs /sys
for part in $kept; do
    if [ -d "$directory/sys/$part" ]; then
        mount --move "$directory/sys/$part" "/sys/$part"
    fi
done
rm -rf --one-file-system "$directory/sys"

# Docker takes a mount of the outer /run for one of this one, though it lies below.
findmnt --noheadings --raw --output TARGET | { grep '^/run/' || true; } | tac |
    while read -r target; do umount --lazy "$target"; done

# Pins, sockets, locks, state and Docker's data, of this machine alone.
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir -m 755 /run/netns /run/lock

# Addresses of IPv6 are usable at once: nobody else is on these links.
echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
ip link set lo up

echo ready
exec >/dev/null 2>&1
while read -r _; do :; done
