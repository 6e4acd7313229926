//! Docker's calls and our answers on the wire, as CNM's remote drivers of networks and of IPAM have them.
//!
//! Fields that later engines add are let be; what is missing is empty.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::driver::Joined;
use super::error::CnmError;

/// The media type of the protocol.
pub(super) const CONTENT_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// Options by their names.
pub(super) type OptionMap = Map<String, Value>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateNetwork {
    #[serde(rename = "NetworkID")]
    pub network: String,
    #[serde(default)]
    pub options: Option<OptionMap>,
    #[serde(rename = "IPv4Data", default)]
    pub v4: Option<Vec<IpamData>>,
    #[serde(rename = "IPv6Data", default)]
    pub v6: Option<Vec<IpamData>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct IpamData {
    #[serde(default)]
    pub pool: String,
    #[serde(default)]
    pub gateway: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfNetwork {
    #[serde(rename = "NetworkID")]
    pub network: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateEndpoint {
    #[serde(rename = "NetworkID")]
    pub network: String,
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
    #[serde(default)]
    pub options: Option<OptionMap>,
    #[serde(default)]
    pub interface: Option<Interface>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Interface {
    #[serde(default)]
    pub address: String,
    #[serde(rename = "AddressIPv6", default)]
    pub address_v6: String,
    #[serde(default)]
    pub mac_address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfEndpoint {
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
    #[serde(default)]
    pub options: Option<OptionMap>,
}

/// A port that is to be published.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PortBinding {
    #[serde(default)]
    pub proto: u8,
    #[serde(default)]
    pub port: u16,
    #[serde(rename = "HostIP", default)]
    pub host_ip: String,
    #[serde(default)]
    pub host_port: u16,
    #[serde(default)]
    pub host_port_end: u16,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RequestPool {
    #[serde(default)]
    pub address_space: String,
    /// Any, if it is empty.
    #[serde(default)]
    pub pool: String,
    #[serde(default)]
    pub sub_pool: String,
    #[serde(default)]
    pub options: Option<OptionMap>,
    #[serde(default)]
    pub v6: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct OfPool {
    #[serde(rename = "PoolID")]
    pub pool: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RequestAddress {
    #[serde(rename = "PoolID")]
    pub pool: String,
    /// Any, if it is empty.
    #[serde(default)]
    pub address: String,
    #[serde(default)]
    pub options: Option<OptionMap>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfAddress {
    #[serde(rename = "PoolID")]
    pub pool: String,
    pub address: String,
}

/// Reads the body of a call.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, CnmError> {
    serde_json::from_slice(body).map_err(CnmError::Call)
}

pub(super) fn activated() -> Value {
    json!({ "Implements": ["NetworkDriver", "IpamDriver"] })
}

pub(super) fn capabilities() -> Value {
    json!({ "Scope": "local", "ConnectivityScope": "local" })
}

/// Hardware addresses are Docker's to choose, and what was asked for once need not be asked for again.
pub(super) fn ipam_capabilities() -> Value {
    json!({ "RequiresMACAddress": false, "RequiresRequestReplay": false })
}

pub(super) fn address_spaces(local: &str, global: &str) -> Value {
    json!({ "LocalDefaultAddressSpace": local, "GlobalDefaultAddressSpace": global })
}

/// A pool is called by its subnet.
pub(super) fn pool(subnet: &str) -> Value {
    json!({ "PoolID": subnet, "Pool": subnet, "Data": {} })
}

pub(super) fn address(address: &str) -> Value {
    json!({ "Address": address, "Data": {} })
}

/// What is done has nothing to tell.
pub(super) fn done() -> Value {
    json!({})
}

/// Only what the call left to us is told back: a hardware address.
pub(super) fn endpoint_created(mac: Option<String>) -> Value {
    match mac {
        Some(mac) => json!({ "Interface": { "MacAddress": mac } }),
        None => json!({ "Interface": {} }),
    }
}

pub(super) fn joined(joined: &Joined) -> Value {
    let Joined { host: _, source, gateway, gateway_v6 } = joined;
    let text = |address: &Option<std::net::IpAddr>| {
        address.map_or_else(String::new, |address| address.to_string())
    };
    json!({
        "InterfaceName": { "SrcName": source, "DstPrefix": "eth" },
        "Gateway": text(gateway),
        "GatewayIPv6": text(gateway_v6),
        // Without it, Docker plugs a container whose network has no gateway into a bridge of its own.
        "DisableGatewayService": true,
    })
}

pub(super) fn oper_info(ports: &[Value]) -> Value {
    json!({ "Value": { "com.docker.network.portmap": ports } })
}

pub(super) fn failed(sentence: &str) -> Value {
    json!({ "Err": sentence })
}
