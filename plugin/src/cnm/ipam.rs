//! The IPAM driver: addresses for networks of Docker's own bridge driver, so that nothing starts on
//! them while nobody would close it.
//!
//! Docker asks for an address before it makes an interface, at each start and each connect. Which
//! container it is for is not said; what is decided here is that the daemon's engine is there to close
//! the interface that comes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ebpf_netns::text::printable;
use rustix::rand::{GetRandomFlags, getrandom};
use serde_json::Value;
use tracing::info;

use super::error::CnmError;
use super::network::Prefix;
use super::pool::{AddressPool, free_subnet};
use super::protocol::{self, OfAddress, OfPool, RequestAddress, RequestPool};
use super::server::Driver;
use super::store::Store;
use crate::endpoint::EndpointEvent;

/// The address space of networks of one machine.
const LOCAL: &str = "ebpf-netns";
/// That of networks of a swarm, of which there are none.
const GLOBAL: &str = "ebpf-netns-swarm";
/// The option that tells what an address is for, and what it says of a gateway.
const ADDRESS_TYPE: &str = "RequestAddressType";
const GATEWAY: &str = "com.docker.network.gateway";

/// All pools, in memory as on the disk.
pub(super) struct Ipam {
    store: Store,
    pools: BTreeMap<String, AddressPool>,
}

impl Ipam {
    /// Takes over what an earlier daemon gave: Docker does not tell again.
    pub(super) fn open(store: Store) -> Result<Self, CnmError> {
        let pools = store.pools()?.into_iter().map(|pool| (pool.id(), pool)).collect();
        Ok(Self { store, pools })
    }

    fn request_pool(&mut self, call: RequestPool) -> Result<Value, CnmError> {
        let RequestPool { address_space, pool, sub_pool, options, v6 } = call;
        if address_space == GLOBAL {
            let one = "networks of this IPAM driver are of one machine: leave out --scope swarm";
            return Err(CnmError::Refused(one.to_owned()));
        }
        if let Some(option) = options.unwrap_or_default().keys().next() {
            let none = format!("option {}: this IPAM driver has none", printable(option));
            return Err(CnmError::Option(none));
        }
        let others: Vec<Prefix> = self.pools.values().map(|pool| pool.subnet).collect();
        let subnet = if pool.is_empty() {
            free_subnet(!v6, &others, random()?).ok_or(CnmError::NoSubnet)?
        } else {
            prefix(&pool)?
        };
        let range = Some(sub_pool.as_str()).filter(|range| !range.is_empty()).map(prefix);
        let made = AddressPool::new(subnet, range.transpose()?)?;
        let overlapping = others.into_iter().find(|other| other.overlaps(made.subnet));
        // Of one without an address, Docker did not hear that it is made, and asks once more.
        let is_asked_again = self.pools.get(&made.id()).is_some_and(AddressPool::is_unused);
        if let Some(other) = overlapping.filter(|_| !is_asked_again) {
            return Err(CnmError::PoolOverlaps { asked: made.id(), other: other.to_string() });
        }
        self.store.put_pool(&made, true)?;
        let id = made.id();
        info!(pool = id, "addresses for a network");
        self.pools.insert(id.clone(), made);
        Ok(protocol::pool(&id))
    }

    /// What is not there is as good as released.
    fn release_pool(&mut self, id: &str) -> Result<Value, CnmError> {
        if let Some(pool) = self.pools.get(id) {
            self.store.remove_pool(pool)?;
            self.pools.remove(id);
        }
        Ok(protocol::done())
    }

    fn request_address(&mut self, id: &str, wanted: Option<IpAddr>) -> Result<Value, CnmError> {
        let known =
            self.pools.get_mut(id).ok_or_else(|| CnmError::NoPool(printable(id).to_string()))?;
        let mut pool = known.clone();
        let taken = pool.take(wanted)?;
        self.store.put_pool(&pool, false)?;
        *known = pool;
        Ok(protocol::address(&taken.to_string()))
    }

    /// What nobody has is as good as released.
    fn release_address(&mut self, id: &str, address: IpAddr) -> Result<Value, CnmError> {
        if let Some(pool) = self.pools.get_mut(id)
            && pool.release(address)
        {
            self.store.put_pool(pool, false)?;
        }
        Ok(protocol::done())
    }
}

impl Driver {
    /// The answer to a call of an IPAM driver; `None` if there is no such call.
    pub(super) async fn answer_ipam(
        &self,
        call: &str,
        body: &[u8],
    ) -> Result<Option<Value>, CnmError> {
        let answer = match call {
            "IpamDriver.GetCapabilities" => protocol::ipam_capabilities(),
            "IpamDriver.GetDefaultAddressSpaces" => protocol::address_spaces(LOCAL, GLOBAL),
            "IpamDriver.RequestPool" => {
                let call = protocol::read(body)?;
                self.with_ipam(move |ipam| ipam.request_pool(call)).await?
            }
            "IpamDriver.ReleasePool" => {
                let OfPool { pool } = protocol::read(body)?;
                self.with_ipam(move |ipam| ipam.release_pool(&pool)).await?
            }
            "IpamDriver.RequestAddress" => {
                let RequestAddress { pool, address, options } = protocol::read(body)?;
                let wanted = (!address.is_empty()).then(|| ip(&address)).transpose()?;
                let options = options.unwrap_or_default();
                if options.get(ADDRESS_TYPE).and_then(Value::as_str) != Some(GATEWAY) {
                    self.ask(|reply| EndpointEvent::Ready { reply }).await?;
                }
                self.with_ipam(move |ipam| ipam.request_address(&pool, wanted)).await?
            }
            "IpamDriver.ReleaseAddress" => {
                let OfAddress { pool, address } = protocol::read(body)?;
                let address = ip(&address)?;
                self.with_ipam(move |ipam| ipam.release_address(&pool, address)).await?
            }
            _ => return Ok(None),
        };
        Ok(Some(answer))
    }
}

fn random() -> Result<[u8; 5], CnmError> {
    let mut bytes = [0; 5];
    // So few bytes come at once, or not at all.
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|errno| CnmError::Random(errno.into()))?;
    Ok(bytes)
}

fn prefix(text: &str) -> Result<Prefix, CnmError> {
    let none = || CnmError::Option(format!("{} is no subnet", printable(text)));
    Prefix::parse(text).ok_or_else(none)
}

fn ip(text: &str) -> Result<IpAddr, CnmError> {
    text.parse().map_err(|_none| CnmError::Option(format!("{} is no address", printable(text))))
}
