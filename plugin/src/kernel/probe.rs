//! Finding out by trying what this kernel can do for the daemon. Nothing is pinned, and what is
//! attached is attached in a network namespace that the caller made for it.

use std::error::Error;
use std::io;
use std::os::fd::AsFd as _;

use aya::Ebpf;
use aya::maps::MapType;
use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::TcAttachOptions;
use aya::programs::xdp::XdpMode;
use aya::programs::{Program, ProgramType, SchedClassifier, TcAttachType, Xdp};
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported};
use ebpf_netns::rtnl::{Direction, NewBpfFilter};
use ebpf_netns::{Ifindex, Rtnl};
use nix::errno::Errno;
use plugin_common::abi::{BLOCKS_MAP, FLOWS_MAP, HITS_MAP, IMAGES_MAP, LANES_MAP, LEAVES_MAP};

use super::filters::OURS;
use super::refusal::AttachError;
use super::{LoadError, Refusal, load, object, program};
use crate::doctor::{Seen, Support, Unseen};
use crate::error::{chain, of_system};
use crate::plan::Hook;

/// Maps that have megabytes in the daemon, and need none for looking whether the programs load.
const LARGE: [&str; 6] = [IMAGES_MAP, BLOCKS_MAP, LEAVES_MAP, FLOWS_MAP, HITS_MAP, LANES_MAP];

/// The loopback device, which every network namespace has.
const LOOPBACK: &str = "lo";
/// Its index, in each of them.
const LOOPBACK_INDEX: u32 = 1;

/// What can be found out without attaching anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Ring buffers, by which packets are reported.
    pub ring_buffer: Seen<bool>,
    /// Tries of prefixes, which objects for use by hand may have.
    pub lpm_trie: Seen<bool>,
    /// The helper by which the programs read packets at XDP (Linux 5.18).
    pub load_bytes: Seen<bool>,
}

/// Where the programs can be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// XDP, by a link that outlives its process.
    pub xdp: Support,
    /// TCX.
    pub tcx: Support,
    /// A clsact qdisc with a filter.
    pub clsact: Support,
}

/// Looks for what the programs are made of.
#[must_use]
pub fn features() -> Features {
    let map = |kind| is_map_supported(kind).map_err(|error| unseen(&error));
    let helper = is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_xdp_load_bytes);
    Features {
        ring_buffer: map(MapType::RingBuf),
        lpm_trie: map(MapType::LpmTrie),
        load_bytes: helper.map_err(|error| unseen(&error)),
    }
}

/// The daemon's programs, loaded to see whether they can be.
pub struct Trial {
    ebpf: Ebpf,
}

impl Trial {
    /// Loads them as the daemon does, but for the size of their maps.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn load() -> Result<Self, LoadError> {
        let mut loader = object::loader();
        for name in LARGE {
            loader.map_max_entries(name, 1);
        }
        let mut ebpf = load::load_object(&mut loader, object::for_this_kernel())?;
        for hook in Hook::ALL {
            load::load_program(&mut ebpf, hook)?;
        }
        Ok(Self { ebpf })
    }

    /// Whether the kernel made machine code of them.
    #[must_use]
    pub fn is_jitted(&self) -> bool {
        let info = |(_, program): (&str, &Program)| program.info();
        self.ebpf.programs().filter_map(|one| info(one).ok()).all(|info| info.size_jitted() > 0)
    }

    /// Attaches them to the loopback device of the namespace that the calling thread is in, in each
    /// way, and takes them off again.
    ///
    /// # Errors
    ///
    /// When that is not permitted.
    pub fn attach(&mut self) -> Seen<Hooks> {
        Ok(Hooks {
            xdp: support(self.attach_xdp())?,
            tcx: support(self.attach_tcx())?,
            clsact: support(self.attach_clsact())?,
        })
    }

    fn attach_xdp(&mut self) -> Result<(), AttachError> {
        let xdp: &mut Xdp = program(&mut self.ebpf, Hook::Xdp)?;
        let id = xdp.attach(LOOPBACK, XdpMode::Skb)?;
        // What is attached without a link would end with the daemon.
        FdLink::try_from(xdp.take_link(id)?).map(drop)?;
        Ok(())
    }

    fn attach_tcx(&mut self) -> Result<(), AttachError> {
        let tc: &mut SchedClassifier = program(&mut self.ebpf, Hook::Egress)?;
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = tc.attach_with_options(LOOPBACK, TcAttachType::Ingress, order)?;
        drop(tc.take_link(id)?);
        Ok(())
    }

    fn attach_clsact(&mut self) -> Result<(), AttachError> {
        let index = Ifindex::try_from(LOOPBACK_INDEX);
        let index = index.map_err(|error| Refusal::new(error.to_string()))?;
        let tc: &mut SchedClassifier = program(&mut self.ebpf, Hook::Egress)?;
        let filter = NewBpfFilter {
            direction: Direction::Ingress,
            priority: 1,
            handle: OURS.handle,
            program: tc.fd()?.as_fd(),
            name: load::program_name(Hook::Egress),
        };
        let add = || {
            let rtnl = Rtnl::open()?;
            rtnl.add_clsact(index)?;
            rtnl.set_bpf_filter(index, &filter)?;
            rtnl.remove_filter(index, filter.direction, filter.priority, OURS.handle)?;
            rtnl.remove_unused_clsact(index).map(drop)
        };
        add().map_err(AttachError::Rtnl)
    }
}

impl std::fmt::Debug for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trial").finish_non_exhaustive()
    }
}

fn support(tried: Result<(), AttachError>) -> Seen<Support> {
    match tried {
        Ok(()) => Ok(Support::There),
        Err(error) if matches!(error.errno(), Some(Errno::EPERM | Errno::EACCES)) => {
            Err(Unseen::denied("attaching takes CAP_NET_ADMIN"))
        }
        Err(error) => Ok(Support::Absent(error.to_string())),
    }
}

/// Why the kernel does not even say whether it could.
fn unseen(error: &(dyn Error + 'static)) -> Unseen {
    match of_system(error).map(io::Error::kind) {
        Some(io::ErrorKind::PermissionDenied) => {
            Unseen::denied("it takes CAP_BPF and CAP_NET_ADMIN")
        }
        _ => Unseen::failed(chain(error)),
    }
}
