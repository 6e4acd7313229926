//! The programs that building an image and booting it take.

use anyhow::{Result, ensure};

use crate::setup::{self, Need};

const NEEDS: [Need; 11] = [
    Need { program: "apt-get", package: "apt" },
    Need { program: "bpftool", package: "bpftool" },
    Need { program: "busybox", package: "busybox-static" },
    Need { program: "depmod", package: "kmod" },
    Need { program: "dpkg", package: "dpkg" },
    Need { program: "ip", package: "iproute2" },
    Need { program: "ldd", package: "libc-bin" },
    Need { program: "qemu-system-x86_64", package: "qemu-system-x86" },
    Need { program: "setpriv", package: "util-linux" },
    Need { program: "strip", package: "binutils" },
    Need { program: "tc", package: "iproute2" },
];

/// Installs what is missing.
pub(super) fn install_missing() -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the kernels are x86-64 ones, and the tests are built for this machine, which is another"
    );
    setup::provide(&NEEDS)
}
