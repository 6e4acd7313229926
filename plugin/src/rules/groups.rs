//! Which addresses the groups `lan`, `metadata` and `internet` are; `docs/labels.md` has the same
//! lists. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::AddressRange;
use super::sets::{merge, subtract};

/// `lan`: addresses of whoever runs the network.
const LAN: [(IpAddr, u8); 7] = [
    (v4(10, 0, 0, 0), 8),        // RFC 1918
    (v4(172, 16, 0, 0), 12),     // RFC 1918
    (v4(192, 168, 0, 0), 16),    // RFC 1918
    (v4(169, 254, 0, 0), 16),    // link-local, RFC 3927
    (v4(100, 64, 0, 0), 10),     // shared by carriers, RFC 6598
    (v6([0xfc00, 0, 0, 0]), 7),  // unique local, RFC 4193
    (v6([0xfe80, 0, 0, 0]), 10), // link-local, RFC 4291
];

/// `metadata`: where clouds tell a machine about itself and hand out credentials. Most are in `lan`
/// too.
const METADATA: [IpAddr; 17] = [
    v4(169, 254, 169, 254),             // nearly every cloud
    v4(169, 254, 170, 2),               // AWS: credentials of ECS tasks
    v4(169, 254, 170, 23),              // AWS: credentials of EKS pods
    v4(169, 254, 42, 42),               // Scaleway
    v4(169, 254, 0, 23),                // Tencent
    v4(169, 254, 10, 10),               // Tencent
    v4(100, 100, 100, 200),             // Alibaba
    v4(168, 63, 129, 16),               // Azure's wire server
    v4(192, 0, 0, 192),                 // Oracle, classic
    v6([0xfd00, 0xec2, 0, 0x254]),      // AWS
    v6([0xfd00, 0xec2, 0, 0x23]),       // AWS: credentials of EKS pods
    v6([0xfd20, 0xce, 0, 0x254]),       // Google
    v6([0xfd00, 0xc1, 0xa9fe, 0xa9fe]), // Oracle
    v6([0xfd00, 0x42, 0, 0x42]),        // Scaleway
    v6([0xfe80, 0, 0xa9fe, 0xa9fe]),    // OpenStack
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1)), // Linode
    v6([0xfd00, 0x100, 0x100, 0x200]),  // Alibaba
];

/// What is reserved for something else than hosts of the Internet, besides [`LAN`].
const RESERVED_V4: [(IpAddr, u8); 10] = [
    (v4(0, 0, 0, 0), 8),       // this network, RFC 791
    (v4(127, 0, 0, 0), 8),     // loopback, RFC 1122
    (v4(192, 0, 0, 0), 24),    // protocol assignments, RFC 6890
    (v4(192, 0, 2, 0), 24),    // documentation, RFC 5737
    (v4(192, 88, 99, 0), 24),  // relays of 6to4, RFC 7526
    (v4(198, 18, 0, 0), 15),   // benchmarks, RFC 2544
    (v4(198, 51, 100, 0), 24), // documentation, RFC 5737
    (v4(203, 0, 113, 0), 24),  // documentation, RFC 5737
    (v4(224, 0, 0, 0), 4),     // multicast, RFC 5771
    (v4(240, 0, 0, 0), 4),     // future use and limited broadcast, RFC 1112 and RFC 919
];

/// What is handed out for the Internet, RFC 4291: everything else of IPv6, such as loopback,
/// multicast and NAT64 (`64:ff9b::/96`), is reserved.
const GLOBAL_V6: (IpAddr, u8) = (v6([0x2000, 0, 0, 0]), 3);

/// What is reserved of [`GLOBAL_V6`].
const RESERVED_V6: [(IpAddr, u8); 4] = [
    (v6([0x2001, 0, 0, 0]), 23), // protocol assignments, Teredo among them, RFC 2928
    (v6([0x2001, 0xdb8, 0, 0]), 32), // documentation, RFC 3849
    (v6([0x2002, 0, 0, 0]), 16), // 6to4, which stands for addresses of IPv4, RFC 3056
    (v6([0x3fff, 0, 0, 0]), 20), // documentation, RFC 9637
];

/// Private, link-local and shared address space.
pub(super) fn lan() -> Vec<AddressRange> {
    networks(&LAN)
}

/// Where clouds hand out credentials.
pub(super) fn metadata() -> Vec<AddressRange> {
    merge(METADATA.map(AddressRange::from).to_vec())
}

/// Everything that is none of `host`, `lan` and `metadata`, nor reserved.
pub(super) fn internet(host: Vec<AddressRange>) -> Vec<AddressRange> {
    let all = networks(&[(v4(0, 0, 0, 0), 0), GLOBAL_V6]);
    let covered = [lan(), metadata(), networks(&RESERVED_V4), networks(&RESERVED_V6), host];
    subtract(all, covered.concat())
}

fn networks(networks: &[(IpAddr, u8)]) -> Vec<AddressRange> {
    let ranges =
        networks.iter().filter_map(|(address, prefix)| AddressRange::network(*address, *prefix));
    merge(ranges.collect())
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// The first two and the last two groups of an address; the others are 0.
const fn v6([a, b, y, z]: [u16; 4]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, y, z))
}

#[cfg(test)]
mod tests {
    use super::super::icmp::{IcmpName, IcmpType};
    use super::*;

    fn shown(ranges: &[AddressRange]) -> Vec<String> {
        ranges.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_address_is_in_the_groups_that_it_belongs_to() {
        let host: Vec<AddressRange> = ["172.17.0.1", "8.8.4.4", "2606:4700::1"]
            .map(|text| text.parse::<IpAddr>().unwrap().into())
            .to_vec();
        let groups = [("lan", lan()), ("metadata", metadata()), ("internet", internet(host))];
        for (address, expected) in [
            ("10.0.0.0", &["lan"][..]),
            ("172.15.255.255", &["internet"]),
            ("172.31.255.255", &["lan"]),
            ("172.32.0.0", &["internet"]),
            ("100.64.0.1", &["lan"]),
            ("100.128.0.0", &["internet"]),
            ("100.100.100.200", &["lan", "metadata"]),
            ("169.254.169.254", &["lan", "metadata"]),
            ("168.63.129.16", &["metadata"]),
            ("168.63.129.17", &["internet"]),
            ("192.0.0.192", &["metadata"]),
            ("192.0.0.193", &[]),
            ("8.8.8.8", &["internet"]),
            ("8.8.4.4", &[]),
            ("0.0.0.0", &[]),
            ("127.0.0.1", &[]),
            ("224.0.0.1", &[]),
            ("223.255.255.255", &["internet"]),
            ("240.0.0.1", &[]),
            ("255.255.255.255", &[]),
            ("203.0.113.9", &[]),
            ("2606:4700::1111", &["internet"]),
            ("2606:4700::1", &[]),
            ("fd00:ec2::254", &["lan", "metadata"]),
            ("fd00:a9fe:a9fe::1", &["lan", "metadata"]),
            ("fe80::a9fe:a9fe", &["lan", "metadata"]),
            ("fe80::1", &["lan"]),
            ("fec0::1", &[]),
            ("::", &[]),
            ("::1", &[]),
            ("ff02::1", &[]),
            ("::ffff:8.8.8.8", &[]),
            ("64:ff9b::808:808", &[]),
            ("2001::1", &[]),
            ("2001:200::1", &["internet"]),
            ("2001:db8::1", &[]),
            ("2002:a00:1::", &[]),
            ("3ffe::1", &["internet"]),
            ("3fff::1", &[]),
            ("4000::1", &[]),
        ] {
            let parsed: IpAddr = address.parse().unwrap();
            let found: Vec<&str> = groups
                .iter()
                .filter(|(_, ranges)| ranges.iter().any(|range| range.contains(parsed)))
                .map(|(name, _)| *name)
                .collect();
            assert_eq!(found, expected, "{address}");
        }
    }

    #[test]
    fn the_internet_is_few_ranges() {
        let internet = internet(Vec::new());
        assert_eq!(internet.len(), 19, "{:?}", shown(&internet));
        assert_eq!(merge(internet.clone()), internet, "sorted and apart");
        assert_eq!(
            shown(&lan()),
            [
                "10.0.0.0/8",
                "100.64.0.0/10",
                "169.254.0.0/16",
                "172.16.0.0/12",
                "192.168.0.0/16",
                "fc00::/7",
                "fe80::/10"
            ]
        );
    }

    #[test]
    fn the_documentation_has_every_address() {
        let documentation = include_str!("../../../docs/labels.md");
        let networks = [&LAN[..], &RESERVED_V4, &[GLOBAL_V6], &RESERVED_V6].concat();
        let networks = networks.into_iter().map(|(address, prefix)| format!("{address}/{prefix}"));
        let addresses = METADATA.iter().map(ToString::to_string);
        for listed in networks.chain(addresses) {
            assert!(documentation.contains(&format!("`{listed}`")), "{listed} is not told");
        }
        for name in IcmpName::ALL {
            let shown = |number: Option<u8>| number.map_or("–".to_owned(), |n| n.to_string());
            let icmp = IcmpType::Named(name);
            let row =
                format!("| `{}` | {} | {} |", name.as_str(), shown(icmp.v4()), shown(icmp.v6()));
            assert!(documentation.contains(&row), "{row} is not told");
        }
    }
}
