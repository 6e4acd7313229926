//! Types of ICMP messages, which have one name and two numbers. Pure.

/// A type of ICMP messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IcmpType {
    /// By its name: the number that it has in ICMP over IPv4, in ICMPv6 over IPv6.
    Named(IcmpName),
    /// By its number, in both.
    Number(u8),
}

impl IcmpType {
    /// Its number over IPv4, if it has one there.
    #[must_use]
    pub fn v4(self) -> Option<u8> {
        match self {
            Self::Named(name) => name.v4,
            Self::Number(number) => Some(number),
        }
    }

    /// Its number over IPv6, if it has one there.
    #[must_use]
    pub fn v6(self) -> Option<u8> {
        match self {
            Self::Named(name) => name.v6,
            Self::Number(number) => Some(number),
        }
    }
}

/// A type of ICMP messages that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IcmpName {
    name: &'static str,
    v4: Option<u8>,
    v6: Option<u8>,
}

impl IcmpName {
    /// Every name: RFC 792 for IPv4, RFC 4443 and RFC 2710 for IPv6. Neighbour discovery is not
    /// among them: it always works, and rules do not see it.
    pub const ALL: [Self; 11] = [
        Self::of("echo-request", Some(8), Some(128)),
        Self::of("echo-reply", Some(0), Some(129)),
        Self::of("destination-unreachable", Some(3), Some(1)),
        Self::of("packet-too-big", None, Some(2)),
        Self::of("time-exceeded", Some(11), Some(3)),
        Self::of("parameter-problem", Some(12), Some(4)),
        Self::of("timestamp-request", Some(13), None),
        Self::of("timestamp-reply", Some(14), None),
        Self::of("multicast-listener-query", None, Some(130)),
        Self::of("multicast-listener-report", None, Some(131)),
        Self::of("multicast-listener-done", None, Some(132)),
    ];

    /// The type of this name.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name == name)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.name
    }

    const fn of(name: &'static str, v4: Option<u8>, v6: Option<u8>) -> Self {
        Self { name, v4, v6 }
    }
}
