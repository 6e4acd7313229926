//! A policy in one line, for people. Pure.

use std::fmt;

use super::presets::format_presets;
use super::{Direction, LabelPolicy, XdpMode};

impl fmt::Display for LabelPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { xdp, tc } = self;
        if let Some(xdp) = xdp {
            let mode = match xdp.mode {
                XdpMode::Auto => "auto",
                XdpMode::Native => "native",
                XdpMode::Generic => "generic",
                XdpMode::Offload => "offload",
            };
            write!(f, "XDP ({mode}), egress: {}", format_presets(xdp.presets))?;
        }
        if let Some(tc) = tc {
            let direction = match tc.direction {
                Direction::Egress => "egress",
                Direction::Ingress => "ingress",
                Direction::Both => "egress and ingress",
            };
            let separator = if xdp.is_some() { "; " } else { "" };
            write!(f, "{separator}TC, {direction}: {}", format_presets(tc.presets))?;
        }
        Ok(())
    }
}
