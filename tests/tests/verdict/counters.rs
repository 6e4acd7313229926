//! Each program counts on its own, for each interface.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{command, isolated, privilege};
use plugin_common::{
    frames::build::{Ipv4, tcp, udp},
    packet::protocol,
    presets::Presets,
    verdict::Reason,
};

use crate::kernel::{Hook, Kernel, LOOPBACK, SkbContext, xdp_context};

#[test]
fn policies_and_counters_are_one_interface_s_and_one_program_s() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let name = "counters::policies_and_counters_are_one_interface_s_and_one_program_s";
    isolated(name, || {
        let other = interface("other")?;
        let mut kernel = Kernel::load()?;
        let frames =
            [Ipv4::new(protocol::TCP).frame(&tcp()), Ipv4::new(protocol::UDP).frame(&udp())];
        let reasons = |ifindex| match ifindex {
            LOOPBACK => [Reason::Tcp, Reason::Passed],
            _ => [Reason::Passed, Reason::Udp],
        };
        for hook in Hook::ALL {
            kernel.set_policy(LOOPBACK, hook, Presets::DROP_TCP)?;
            kernel.set_policy(other, hook, Presets::DROP_UDP)?;
            let runner = kernel.runner(hook)?;
            for ifindex in [LOOPBACK, other] {
                for (frame, reason) in frames.iter().zip(reasons(ifindex)) {
                    let passes = match hook {
                        Hook::Xdp => runner.passes_with(frame, &xdp_context(frame.len(), ifindex)?),
                        Hook::Egress | Hook::Ingress => {
                            let context = SkbContext { ifindex, ..SkbContext::default() };
                            runner.passes_with(frame, &context.bytes())
                        }
                    }?;
                    ensure!(passes == reason.passes(), "{hook:?} on {ifindex}, {reason:?}");
                }
            }
        }
        // Every program ran on both interfaces: what each counted shows none of the others' runs.
        for hook in Hook::ALL {
            for ifindex in [LOOPBACK, other] {
                let counts = kernel.counts(ifindex, hook)?;
                for (frame, reason) in frames.iter().zip(reasons(ifindex)) {
                    let expected = (1, u64::try_from(frame.len())?);
                    let counted = counts.0.get(&reason);
                    ensure!(
                        counted == Some(&expected) && counts.0.len() == 2,
                        "{hook:?} on {ifindex}: {counts:?}"
                    );
                }
            }
        }
        Ok(())
    })
}

/// Makes an interface in this namespace, which must be a test's own, and returns its index.
fn interface(name: &str) -> Result<u32> {
    let ip = |arguments: &[&str]| command::stdout_of(Command::new("ip").args(arguments));
    ip(&["link", "add", name, "type", "veth", "peer", "name", "peer"])?;
    let line = ip(&["-oneline", "link", "show", "dev", name])?;
    let (number, _) = line.split_once(':').context("ip link prints INDEX: NAME")?;
    number.parse().with_context(|| format!("an index in {line:?}"))
}
