//! Where metrics may be served: to this machine alone. Pure.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use ebpf_netns::text::printable_up_to;

/// How much of what is no address is repeated.
const REPEATED: usize = 60;

/// A port of a loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loopback(SocketAddr);

/// Metrics cannot be served there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// It is none.
    #[error(
        "found \"{}\", expected a loopback address and a port, such as 127.0.0.1:9464 or [::1]:9464",
        printable_up_to(.0, REPEATED)
    )]
    Unreadable(String),
    /// Others could reach it.
    #[error(
        "{0} is not a loopback address: metrics tell what runs here, and are served to this machine \
         alone. Serve them at 127.0.0.1 or [::1], and let a reverse proxy on this machine, with its \
         own TLS and its own say in who may ask, pass them on"
    )]
    Public(SocketAddr),
    /// Nobody would know where that is.
    #[error("{0} has port 0: name the port that is to be asked, such as 9464")]
    NoPort(SocketAddr),
}

impl Loopback {
    /// The address.
    #[must_use]
    pub const fn socket(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for Loopback {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let unreadable = |_error| BadAddress::Unreadable(text.to_owned());
        let address: SocketAddr = text.parse().map_err(unreadable)?;
        if !address.ip().is_loopback() {
            return Err(BadAddress::Public(address));
        }
        if address.port() == 0 {
            return Err(BadAddress::NoPort(address));
        }
        Ok(Self(address))
    }
}

impl fmt::Display for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_are_taken_as_they_are() {
        for text in ["127.0.0.1:9464", "127.8.8.8:1", "[::1]:65535"] {
            assert_eq!(text.parse::<Loopback>().map(|it| it.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn any_other_address_is_refused_with_the_way_out() {
        for text in [
            "0.0.0.0:9464",
            "[::]:9464",
            "192.168.0.1:9464",
            "8.8.8.8:80",
            "[::ffff:127.0.0.1]:9464",
            "[::ffff:8.8.8.8]:9464",
            "[fe80::1]:9464",
            "169.254.0.1:9464",
        ] {
            let error = text.parse::<Loopback>().unwrap_err();
            assert!(matches!(error, BadAddress::Public(_)), "{text}: {error:?}");
            assert!(error.to_string().contains("reverse proxy"), "{error}");
        }
    }

    #[test]
    fn what_is_no_address_is_repeated_without_harm() {
        for text in ["", "9464", "localhost:9464", "127.0.0.1", "[::1%1]:9464x", "\u{1b}[2J"] {
            let error = text.parse::<Loopback>().unwrap_err();
            assert!(matches!(error, BadAddress::Unreadable(_)), "{text}: {error:?}");
            let said = error.to_string();
            assert!(said.contains("127.0.0.1:9464") && !said.contains('\u{1b}'), "{said}");
        }
        assert!(matches!("127.0.0.1:0".parse::<Loopback>(), Err(BadAddress::NoPort(_))));
    }
}
