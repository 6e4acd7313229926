//! A container's addresses, as the engine reports them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The addresses of a container on one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl Addresses {
    pub(super) fn parse(endpoint: &str) -> Result<Self> {
        let endpoint: Value = serde_json::from_str(endpoint)?;
        let text = |key: &str| endpoint.get(key).and_then(Value::as_str).filter(|s| !s.is_empty());
        Ok(Self {
            v4: text("IPAddress").map(str::parse).transpose()?,
            v6: text("GlobalIPv6Address").map(str::parse).transpose()?,
        })
    }

    /// The IPv4 address.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn v4(&self) -> Result<IpAddr> {
        self.v4.map(IpAddr::V4).context("the container has no IPv4 address")
    }

    /// The IPv6 address.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn v6(&self) -> Result<IpAddr> {
        self.v6.map(IpAddr::V6).context("the container has no IPv6 address")
    }

    /// Both, for tests that do the same on each.
    ///
    /// # Errors
    ///
    /// When one is missing.
    pub fn both(&self) -> Result<[IpAddr; 2]> {
        Ok([self.v4()?, self.v6()?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_string_is_no_address() {
        let addresses =
            Addresses::parse(r#"{"IPAddress":"172.17.0.2","GlobalIPv6Address":""}"#).unwrap();
        assert_eq!(addresses.v4().unwrap(), IpAddr::from([172, 17, 0, 2]));
        assert!(addresses.v6().is_err(), "there is no IPv6 address");
    }
}
