#!/bin/sh
# Entry point of the development container: checks that the container was started with what the
# project needs, mounts what the machine has not mounted, and then runs the command.
set -eu

fail() {
    echo "dev container: $1" >&2
    echo "dev container: start it with \`docker compose -f compose/dev.yaml run --rm dev\`" >&2
    exit 1
}

# Whether this process shares namespace $1 with the machine's first process.
shared() {
    [ "$(readlink "/proc/self/ns/$1")" = "$(readlink "/proc/1/ns/$1")" ]
}

# Mounts file system $1 on $2, unless the machine's is there already.
mounted() {
    if [ "$(findmnt --noheadings --output FSTYPE --mountpoint "$2" | tail -n 1)" = "$1" ]; then
        return
    fi
    [ -d "$2" ] || fail "the kernel has no $2: it was built without $1"
    mount -t "$1" "$1" "$2" || fail "cannot mount $1 on $2: the container needs --privileged"
}

# Older kernels lack what the programs rely on; the container has the kernel of its machine.
release=$(uname -r)
major=${release%%.*}
minor=${release#*.}
minor=${minor%%[!0-9]*}
if [ "$major" -lt 5 ] || { [ "$major" -eq 5 ] && [ "$minor" -lt 10 ]; }; then
    fail "kernel $release is older than 5.10: update Docker Desktop, or the machine"
fi

# A container with its own processes is its own first process, in its own mount namespace.
readlink /proc/1/ns/mnt >/dev/null 2>&1 ||
    fail "cannot look at process 1: the container needs --privileged (or SYS_PTRACE)"
if shared mnt; then
    fail "sees no processes but its own: containers' namespaces are reached with --pid=host"
fi
shared net || fail "has a network of its own: the veths to attach to are in --network=host"
shared cgroup || fail "has a cgroup view of its own: it needs --cgroupns=host"

mounted bpf /sys/fs/bpf
mounted tracefs /sys/kernel/tracing

# Building and the tests with engines of their own work without.
if [ ! -S "${DOCKER_SOCKET:=/var/run/docker.sock}" ]; then
    echo "dev container: no $DOCKER_SOCKET: mount it to work on the machine's containers" >&2
elif ! docker version --format '{{.Server.Version}}' >/dev/null; then
    echo "dev container: the Docker engine at $DOCKER_SOCKET does not answer, see above" >&2
fi

exec "$@"
