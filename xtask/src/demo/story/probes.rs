//! Requests and pings, shown, with what is expected of them.

use std::net::IpAddr;

use anyhow::Result;

use super::super::scene::{Scene, show};

/// What should become of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Answer,
    Silence,
}

/// Requests a container's page, over IPv4 and IPv6.
pub(super) fn http(scene: &mut Scene<'_>, name: &str, expected: Expected) -> Result<()> {
    for address in addresses(scene, name)? {
        let url = match address {
            IpAddr::V4(address) => format!("http://{address}/"),
            IpAddr::V6(address) => format!("http://[{address}]/"),
        };
        let mut curl = scene.engine().from_host().command("curl");
        curl.args(["-sS", "--max-time", "2", &url]).env("NO_PROXY", "*");
        let code = show(&mut curl)?.status.code();
        match expected {
            Expected::Answer => scene.expect(&format!("{name} answers"), code == Some(0)),
            Expected::Silence => {
                scene.expect(&format!("{name} stays silent: TCP is dropped"), code == Some(28));
            }
        }
    }
    Ok(())
}

/// Pings a container, over IPv4 and IPv6.
pub(super) fn ping(scene: &mut Scene<'_>, name: &str, expected: Expected) -> Result<()> {
    for address in addresses(scene, name)? {
        let mut ping = scene.engine().from_host().command("busybox");
        ping.args(["ping", "-q", "-c", "2", "-i", "0.2", "-W", "1", &address.to_string()]);
        let answered = show(&mut ping)?.status.success();
        match expected {
            Expected::Answer => scene.expect(&format!("{name} answers the ping"), answered),
            Expected::Silence => {
                scene.expect(&format!("{name} stays silent: ICMP is dropped"), !answered);
            }
        }
    }
    Ok(())
}

/// A container's addresses on the default bridge; the host's own engine may have no IPv6.
fn addresses(scene: &Scene<'_>, name: &str) -> Result<Vec<IpAddr>> {
    let addresses = scene.engine().addresses(name)?;
    Ok([addresses.v4(), addresses.v6()].into_iter().flatten().collect())
}
