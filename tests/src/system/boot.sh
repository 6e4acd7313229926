# First process of a system: puts its root together, and becomes systemd.
set -eu
place=$1/system
docker=/run/docker

mkdir "$place"
mount -t tmpfs tmpfs "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" overlay "$place/root"
root=$place/root

mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t bpf bpf "$root/sys/fs/bpf"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s pts/ptmx "$root/dev/ptmx"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"

# The machine's engine: its socket, and the namespaces of its containers.
if [ -S /run/docker.sock ]; then
    touch "$root/run/docker.sock"
    mount --bind /run/docker.sock "$root/run/docker.sock"
    mkdir -p "$docker/netns" "$root$docker/netns"
    mount --rbind "$docker/netns" "$root$docker/netns"
fi
# Its own would take the socket.
for unit in docker.socket docker.service containerd.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

# Whether packages may start their services is what is tried here.
rm -f "$root/usr/sbin/policy-rc.d"

cd "$root"
pivot_root . mnt
umount --lazy /mnt
# As on a host: what is mounted in one place is seen in every other.
mount --make-rshared /
exec env --ignore-environment container=ebpf-netns-tests PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=basic.target
