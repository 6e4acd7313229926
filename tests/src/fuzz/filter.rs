//! Filters of `trace` and `capture`, and packets as `explain` takes them: anything is read or refused
//! with its place, and what a filter finds follows the rules of `not`, `and` and `or`.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use ebpf_netns_plugin::{
    explain::Described,
    filter::{Filter, Seen},
};
use plugin_common::{packet::ethertype, verdict::Reason};

use super::SEPARATOR;

/// The first text is a filter, what follows is a packet.
///
/// # Errors
///
/// What does not hold.
pub fn filter(data: &[u8]) -> Result<()> {
    let mut parts = data.splitn(2, |byte| *byte == SEPARATOR);
    let text = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let packet = seen(parts.next().unwrap_or_default());
    if let Err(error) = text.parse::<Described>() {
        ensure!(format!("{error:#}").contains('^'), "an error has a caret: {error:#}");
    }
    let filter: Filter = match text.parse() {
        Ok(filter) => filter,
        Err(error) => {
            ensure!(format!("{error:#}").contains('^'), "an error has a caret: {error:#}");
            return Ok(());
        }
    };
    let found = filter.matches(&packet);
    for (other, expected) in [
        (format!("not ({text})"), !found),
        (format!("! !({text})"), found),
        (format!("({text}) or not ({text})"), true),
        (format!("({text}) and not ({text})"), false),
        (format!("tcp and ({text}) or not tcp and ({text})"), found),
    ] {
        // Around the longest and the deepest there is no room for more.
        let Ok(parsed) = other.parse::<Filter>() else { continue };
        ensure!(parsed.matches(&packet) == expected, "{other:?}: not {expected} of {packet:?}");
    }
    Ok(())
}

/// A packet of any bytes.
fn seen(data: &[u8]) -> Seen {
    let byte = |at: usize| data.get(at).copied().unwrap_or_default();
    let port = |at| u16::from_be_bytes([byte(at), byte(at + 1)]);
    let is_v4 = byte(0) % 2 == 0;
    let address = |at: usize| -> IpAddr {
        let v6: [u8; 16] = std::array::from_fn(|offset| byte(at + offset));
        let [first, second, third, fourth, ..] = v6;
        if is_v4 { [first, second, third, fourth].into() } else { v6.into() }
    };
    Seen {
        ethertype: if is_v4 { ethertype::IPV4 } else { ethertype::IPV6 },
        ip_version: if is_v4 { 4 } else { 6 },
        protocol: byte(1),
        source: Some(address(6)),
        destination: Some(address(22)),
        source_port: port(2),
        destination_port: port(4),
        reason: Reason::ALL.get(usize::from(byte(38))).copied(),
    }
}
