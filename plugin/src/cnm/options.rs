//! From Docker's calls to networks, endpoints and ports: what was asked for, or why not. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ebpf_netns::{MacAddress, text};
use serde_json::Value;

use super::error::CnmError;
use super::ids::Id;
use super::network::{Endpoint, Network, Options, Pool, Prefix, Protocol, VERSION};
use super::protocol::{CreateEndpoint, CreateNetwork, IpamData, OptionMap, PortBinding};
use crate::labels;

const GENERIC: &str = "com.docker.network.generic";
const INTERNAL: &str = "com.docker.network.internal";
const PORT_MAP: &str = "com.docker.network.portmap";
const MTU: &str = "com.docker.network.driver.mtu";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";

/// The smallest MTU that IPv4 takes, and the largest that there is.
const MTUS: std::ops::RangeInclusive<u32> = 68..=65_535;

/// A port that is to be published: at one of these of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub protocol: Protocol,
    pub address: Option<IpAddr>,
    /// Any that is free, where there is none.
    pub host_ports: Option<(u16, u16)>,
    pub port: u16,
}

/// The network that a call asks for.
pub(super) fn network(call: CreateNetwork) -> Result<Network, CnmError> {
    let CreateNetwork { network, options, v4, v6 } = call;
    let id = Id::try_from(network)?;
    let given = options.unwrap_or_default();
    let pools = v4.into_iter().chain(v6).flatten().map(pool).collect::<Result<Vec<_>, _>>()?;
    if pools.is_empty() {
        let none = "the network has no addresses: the driver takes networks with an IPAM driver";
        return Err(CnmError::Option(none.to_owned()));
    }
    let internal = given.get(INTERNAL).and_then(Value::as_bool).unwrap_or_default();
    let generic = given.get(GENERIC).and_then(Value::as_object);
    let options = generic.map_or_else(|| options_of(&OptionMap::new()), options_of)?;
    Ok(Network { version: VERSION, id, pools, internal, options })
}

fn pool(data: IpamData) -> Result<Pool, CnmError> {
    let IpamData { pool, gateway } = data;
    let bad = |text: &str| CnmError::Option(format!("{} is no subnet", text::printable(text)));
    let subnet = Prefix::parse(&pool).ok_or_else(|| bad(&pool))?;
    let gateway = match gateway.as_str() {
        "" => None,
        gateway => Some(Prefix::parse(gateway).ok_or_else(|| bad(gateway))?.address),
    };
    Ok(Pool { subnet, gateway })
}

/// The options of `-o`: a policy as in labels, and those of Docker's own bridge that are known here.
fn options_of(given: &OptionMap) -> Result<Options, CnmError> {
    let mut options = Options { mtu: None, masquerade: true, labels: BTreeMap::new() };
    for (key, value) in given {
        let value = value.as_str().unwrap_or_default();
        match key.as_str() {
            MTU => {
                let mtu = value.parse().ok().filter(|mtu| MTUS.contains(mtu));
                options.mtu = Some(mtu.ok_or_else(|| unexpected(key, value, "68 to 65535"))?);
            }
            MASQUERADE => {
                let expected = || unexpected(key, value, "true or false");
                options.masquerade = value.parse().map_err(|_not_boolean| expected())?;
            }
            key if labels::is_ours(key) => {
                options.labels.insert(key.to_owned(), value.to_owned());
            }
            key => return Err(unknown(key)),
        }
    }
    Ok(options)
}

fn unexpected(key: &str, value: &str, expected: &str) -> CnmError {
    let value = text::printable_up_to(value, 60);
    CnmError::Option(format!("option {key}: found \"{value}\", expected {expected}"))
}

fn unknown(key: &str) -> CnmError {
    let key = text::printable_up_to(key, 60);
    CnmError::Option(format!(
        "option {key} is not known to this driver: expected a policy as in labels (tc.egress, \
         tc.ingress, tc.policy, xdp.policy, …), {MTU} or {MASQUERADE}"
    ))
}

/// The endpoint that a call asks for, and whether its hardware address was left to us.
pub(super) fn endpoint(call: CreateEndpoint) -> Result<(Endpoint, bool), CnmError> {
    let CreateEndpoint { network, endpoint, options, interface } = call;
    let (network, id) = (Id::try_from(network)?, Id::try_from(endpoint)?);
    let interface = interface.unwrap_or_default();
    let texts = [&interface.address, &interface.address_v6].into_iter();
    let mut addresses = Vec::new();
    for text in texts.filter(|text| !text.is_empty()) {
        let bad = || CnmError::Option(format!("{} is no address", text::printable(text)));
        addresses.push(Prefix::parse(text).ok_or_else(bad)?.address);
    }
    let mut given = interface.mac_address.as_str();
    let own = made_up(&id, &addresses).to_string();
    let is_ours = given.is_empty();
    if is_ours {
        given = &own;
    }
    let mac = given.parse().map_err(|error| CnmError::Option(format!("{error}")))?;
    let all = options.unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = all.iter().filter(|(key, _)| labels::is_ours(key));
    let labels = labels.map(|(key, value)| (key.clone(), text(value))).collect();
    let endpoint =
        Endpoint { version: VERSION, id, network, addresses, mac, labels, published: Vec::new() };
    Ok((endpoint, is_ours))
}

/// An address that nobody else on the network has: by the one of IPv4, as Docker's bridge does, so that
/// neighbours find it again after a restart; else by the endpoint's id.
fn made_up(id: &Id, addresses: &[IpAddr]) -> MacAddress {
    let v4 = addresses.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(address.octets()),
        IpAddr::V6(_) => None,
    });
    let [a, b, c, d] = v4.unwrap_or_else(|| {
        let digits = id.as_str().get(..8).unwrap_or_default();
        u32::from_str_radix(digits, 16).unwrap_or_default().to_be_bytes()
    });
    MacAddress([0x02, 0x42, a, b, c, d])
}

/// The ports that are to be published.
pub(super) fn ports(options: Option<OptionMap>) -> Result<Vec<Wish>, CnmError> {
    let mut options = options.unwrap_or_default();
    let bindings = options.remove(PORT_MAP).unwrap_or_default();
    let bindings: Option<Vec<PortBinding>> =
        serde_json::from_value(bindings).map_err(CnmError::Call)?;
    bindings.into_iter().flatten().map(wish).collect()
}

fn wish(binding: PortBinding) -> Result<Wish, CnmError> {
    let PortBinding { proto, port, host_ip, host_port, host_port_end } = binding;
    let protocol = Protocol::of_number(proto).ok_or_else(|| {
        CnmError::Option(format!("ports of protocol {proto} cannot be published"))
    })?;
    let address = match host_ip.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_no_address| {
            CnmError::Option(format!("{} is no address of the host", text::printable(text)))
        })?),
    };
    let host_ports = (host_port > 0).then(|| (host_port, host_port.max(host_port_end)));
    Ok(Wish { protocol, address, host_ports, port })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn asked(options: &Value) -> Result<Network, CnmError> {
        let call = json!({
            "NetworkID": ID,
            "Options": { "com.docker.network.enable_ipv6": true, GENERIC: options },
            "IPv4Data": [{ "AddressSpace": "LocalDefault", "Pool": "172.18.0.0/16",
                           "Gateway": "172.18.0.1/16", "AuxAddresses": {} }],
            "IPv6Data": [{ "Pool": "fd00:1::/64", "Gateway": "fd00:1::1/64" }],
        });
        network(serde_json::from_value(call).unwrap())
    }

    #[test]
    fn a_network_has_its_addresses_and_its_policy() {
        let network = asked(&json!({ "tc.egress": "allow tcp 443", MTU: "1400" })).unwrap();
        let shown: Vec<_> = network.gateways().map(|gateway| gateway.to_string()).collect();
        assert_eq!(shown, ["172.18.0.1/16", "fd00:1::1/64"]);
        assert_eq!(network.options.labels["tc.egress"], "allow tcp 443");
        assert_eq!((network.options.mtu, network.options.masquerade), (Some(1400), true));
    }

    #[test]
    fn options_that_are_not_known_are_refused_with_those_that_are() {
        for (options, expected) in [
            (json!({ "parent": "eth0" }), "option parent is not known to this driver: expected a"),
            (json!({ MTU: "1" }), "found \"1\", expected 68 to 65535"),
            (json!({ MASQUERADE: "yes" }), "found \"yes\", expected true or false"),
        ] {
            let said = asked(&options).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn an_endpoint_without_a_hardware_address_gets_one_by_its_address() {
        let call = |mac: &str| {
            let call = json!({
                "NetworkID": ID, "EndpointID": ID,
                "Interface": { "Address": "172.18.0.2/16", "AddressIPv6": "", "MacAddress": mac },
                "Options": { "tc.policy": "log", "com.docker.network.endpoint.exposedports": [] },
            });
            endpoint(serde_json::from_value(call).unwrap()).unwrap()
        };
        let (made_up, is_ours) = call("");
        assert!(is_ours && made_up.mac.to_string() == "02:42:ac:12:00:02", "{made_up:?}");
        assert_eq!(made_up.labels.len(), 1, "only what is written as labels are");
        let (given, is_ours) = call("02:00:00:00:00:09");
        assert!(!is_ours && given.mac.to_string() == "02:00:00:00:00:09", "{given:?}");
    }

    #[test]
    fn ports_are_read_as_docker_writes_them() {
        let options = json!({ PORT_MAP: [
            { "Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8090 },
            { "Proto": 17, "Port": 53, "HostIP": "127.0.0.1", "HostPort": 0, "HostPortEnd": 0 },
        ]});
        let wishes = ports(options.as_object().cloned()).unwrap();
        assert_eq!(wishes[0].host_ports, Some((8080, 8090)));
        assert_eq!(wishes[1].host_ports, None);
        assert_eq!(wishes[1].address, Some([127, 0, 0, 1].into()));
        assert!(ports(None).unwrap().is_empty());
    }
}
