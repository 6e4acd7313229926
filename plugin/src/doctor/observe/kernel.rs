//! What the kernel can do, by trying it.

use ebpf_netns::scratch::{ScratchError, in_new_namespace};
use nix::errno::Errno;
use rustix::system::uname;

use crate::doctor::{Kernel, Seen, Support, Unseen};
use crate::error::chain;
use crate::gate::{Gate, Ports};
use crate::kernel::probe::{self, Hooks, Trial};
use crate::kernel::{self, LoadError};

pub(super) fn look() -> Kernel {
    kernel::probe();
    let features = probe::features();
    let (programs, trial) = match Trial::load() {
        Ok(trial) => (Ok(Support::There), Ok(trial)),
        Err(LoadError::NotPermitted) => {
            let unseen = Unseen::denied("loading programs takes CAP_BPF and CAP_NET_ADMIN");
            (Err(unseen.clone()), Err(unseen))
        }
        Err(error) => {
            let unseen = Unseen::failed("the programs do not load");
            (Ok(Support::Absent(chain(&error))), Err(unseen))
        }
    };
    let jit = trial.as_ref().map(Trial::is_jitted).map_err(Clone::clone);
    let (hooks, strict) = match in_new_namespace(|| (attach(trial), strict())) {
        Ok(tried) => tried,
        Err(error) => (Err(unseen(&error)), Err(unseen(&error))),
    };
    let release = uname().release().to_string_lossy().into_owned();
    Kernel { release, features, programs, jit, hooks, strict }
}

fn attach(trial: Seen<Trial>) -> Seen<Hooks> {
    let mut trial = trial?;
    trial.attach()
}

/// Makes the whole table of strict mode, in a namespace without a bridge.
fn strict() -> Seen<Support> {
    match Gate::open().and_then(|gate| gate.install(&Ports::default())) {
        Ok(_made) => Ok(Support::There),
        Err(error) if error.errno() == Some(Errno::EPERM) => {
            Err(Unseen::denied("nftables takes CAP_NET_ADMIN"))
        }
        Err(error) => Ok(Support::Absent(chain(&error))),
    }
}

fn unseen(error: &ScratchError) -> Unseen {
    if error.is_permission() {
        Unseen::denied("trying it takes CAP_SYS_ADMIN, for a network namespace to try it in")
    } else {
        Unseen::failed(chain(error))
    }
}
