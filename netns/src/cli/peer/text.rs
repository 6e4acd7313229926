//! What `peer` shows to a person: a block of lines for each interface. No line grows with the width
//! of anything else, so that it reads well at 80 columns.

use std::fmt;

use crate::text::printable;

use super::{HostSide, Report, Row};
use crate::cli::attached::Attachment;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for row in &self.interfaces {
            write!(f, "{separator}{row}")?;
            separator = "\n";
        }
        match &self.tcx_unknown {
            Some(reason) => {
                writeln!(f, "\nTCX programs are not shown; only ebpf-netns-plugin can list them:")?;
                writeln!(f, "  {reason}")
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (ifindex {}, {})", printable(&self.name), self.ifindex, self.kind)?;
        if let Some(network) = &self.network {
            field(f, "network", printable(network))?;
        }
        if let Some(mac) = self.mac {
            field(f, "mac", mac)?;
        }
        for address in &self.addresses {
            field(f, "address", address)?;
        }
        if let Some(host) = &self.host {
            host_side(f, host)
        } else {
            field(f, "host side", "no host-side veth")?;
            field(f, "", self.reason.as_deref().unwrap_or("for an unknown reason"))
        }
    }
}

fn host_side(f: &mut fmt::Formatter<'_>, host: &HostSide) -> fmt::Result {
    field(f, "host side", host)?;
    for attachment in &host.attached {
        field(f, "attached", attachment)?;
    }
    if host.attached.is_empty() { field(f, "attached", "nothing") } else { Ok(()) }
}

fn field(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "  {name:<11}{value}")
}

impl fmt::Display for HostSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (ifindex {})", printable(&self.name), self.ifindex)?;
        if let Some(master) = &self.master {
            write!(f, " on {}", printable(master))?;
        }
        if self.up { Ok(()) } else { f.write_str(", down") }
    }
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: program {}", self.hook, self.program.id)?;
        if let Some(name) = &self.program.name {
            write!(f, " {}", printable(name))?;
        }
        match &self.mode {
            Some(mode) => write!(f, " ({})", printable(mode)),
            None => Ok(()),
        }
    }
}
