//! Strict mode's gate: what crosses a veth port of a bridge is dropped by the kernel unless the
//! port was let through, also while no daemon runs.
//!
//! The gate is an nftables table of the family `bridge` ([`TABLE`]). It outlives the process that
//! made it; [`Gate::install`] finds it again. A change is one transaction of `nf_tables`: the
//! kernel makes all of it or nothing. Nothing here knows Docker, containers or policies: the engine
//! says which ports are let through.
//!
//! # Which ports are governed
//!
//! Every port of every bridge in this network namespace that is a veth (`meta iifkind`, which the
//! driver sets), whatever its name, and that is in neither of two sets:
//!
//! - `admitted`: what is to be enforced at the port stands ([`Gate::admit`]);
//! - `foreign`: it is a port of a bridge that is not governed, such as LXC's ([`Gate::exempt`]).
//!
//! So a veth that appears is closed from its first frame on, and stays closed until it is known. The
//! price is that a *new* veth of another program's bridge is closed too until the engine has seen
//! its bridge: for as long as a link event takes while the daemon runs, and for good while it does
//! not. Ports of other kinds (network cards, tap devices of virtual machines, VXLAN) always pass.
//!
//! Why not otherwise: matching the bridge by name takes `CONFIG_NFT_BRIDGE_META`, which Docker
//! Desktop's kernel lacks, and leaves a network open that Docker makes while no daemon runs. Names
//! of ports (`veth*`) are shared by Docker, LXC, Podman and CNI, and root may give a port any other.
//!
//! # What it does not cover
//!
//! What does not cross a bridge port of this namespace: containers on the host's network, macvlan
//! and ipvlan, the inner bridge of an overlay network (it is in another namespace), Docker
//! without root (so is its bridge), and a veth that is routed instead of bridged. Nor what a bridge
//! leaves to the port itself: neighbour discovery of the host's own there, and frames to
//! `01:80:c2:00:00:0e` (LLDP; with spanning tree also `…:00`), which no hook of a bridge sees. In
//! such a frame a container may send a UDP datagram to the host, and get no answer; a program on
//! the port sees it.
//!
//! # Kernel
//!
//! Linux 5.10 with `CONFIG_NF_TABLES_BRIDGE`, and `CAP_NET_ADMIN` alone. What sets the minimum is
//! the comment by which a table is known as ours; kinds of interfaces came with 5.1, `iface_index`
//! sets and counters before 4.0.

mod error;
mod read;
mod socket;
mod table;
mod wire;

use std::collections::BTreeSet;

use ebpf_netns::Ifindex;
use netlink_packet_netfilter::nftables::NfTablesMessage;
use nix::errno::Errno;

pub use self::{
    error::{GateError, Operation},
    table::{CAPACITY, Difference, Hook, Standing, TABLE},
};
use self::{
    socket::Socket,
    table::{End, Shape, differences},
};

/// How often looking and changing is begun again, when others change nftables in between. Docker
/// does so a few times for each start of a container.
const ATTEMPTS: u32 = 64;

/// The ports that are let through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Those where everything that is to be enforced stands.
    pub admitted: BTreeSet<Ifindex>,
    /// Those of bridges that are not governed.
    pub foreign: BTreeSet<Ifindex>,
}

/// What [`Gate::install`] found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installed {
    /// There was no table: it was made.
    Made,
    /// The table was as it should be, and the ports in it were kept.
    Kept,
    /// The table differed, and was put right; the ports in it were kept.
    Repaired(Vec<Difference>),
}

/// Whether the table is as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is.
    Intact,
    /// There is none: everything passes.
    Missing,
    /// Someone changed it.
    Changed(Vec<Difference>),
}

/// What a counter of the kernel says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Frames.
    pub packets: u64,
    /// Bytes, without the Ethernet header.
    pub bytes: u64,
}

/// What was dropped since the rules were made; a repair begins at zero again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// What came from ports that are not let through.
    pub from: Counted,
    /// What was to go to them.
    pub to: Counted,
}

/// The gate in the network namespace of the thread that opened it.
///
/// It is not [`Sync`]: each thread has its own. Dropping it leaves the table as it is.
#[derive(Debug)]
pub struct Gate {
    socket: Socket,
}

/// What the kernel shows of our table.
struct Seen {
    shape: Shape,
    dropped: Dropped,
}

impl Gate {
    /// Connects to nftables; changes nothing.
    ///
    /// # Errors
    ///
    /// When there is no netfilter in this kernel.
    pub fn open() -> Result<Self, GateError> {
        Ok(Self { socket: Socket::open()? })
    }

    /// Makes the gate, adopts the one that is there, or repairs it, in one transaction; lets
    /// `ports` through beside those that are in it already.
    ///
    /// Who adopts should look at [`Gate::ports`] once it knows which veths there are, and
    /// [`Gate::expel`] the others.
    ///
    /// Rules are replaced under traffic without a frame judged by none of them or dropped for lack
    /// of its port. Where more than rules differ, the table is made anew: a frame that is being
    /// judged at that very moment may see half of the old and half of the new.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, lacks nftables for bridges, or there is a table of this name that
    /// is not ours. Nothing is changed then.
    pub fn install(&self, ports: &Ports) -> Result<Installed, GateError> {
        for _ in 0..ATTEMPTS {
            let generation = self.socket.generation()?;
            let (installed, mut commands, mut keep) = match self.look()? {
                None => (Installed::Made, wire::make(), Ports::default()),
                Some(Seen { shape, .. }) => {
                    let found = differences(&shape);
                    if found.is_empty() {
                        (Installed::Kept, Vec::new(), Ports::default())
                    } else if found.iter().all(|difference| difference.is_of_rules()) {
                        (Installed::Repaired(found), wire::replace_rules(), Ports::default())
                    } else {
                        let mut anew = vec![wire::remove()];
                        anew.append(&mut wire::make());
                        (Installed::Repaired(found), anew, self.ports()?)
                    }
                }
            };
            keep.admitted.extend(&ports.admitted);
            keep.foreign.extend(&ports.foreign);
            commands.append(&mut wire::add(Standing::Admitted, &keep.admitted));
            commands.append(&mut wire::add(Standing::Foreign, &keep.foreign));
            if commands.is_empty() {
                return Ok(installed);
            }
            match self.socket.change(Some(generation), commands) {
                Err(error) if is_stale(&error) => {}
                result => return result.map(|()| installed),
            }
        }
        Err(GateError::Unsettled { operation: Operation::Commit })
    }

    /// Lets through what crosses a port, because what is to be enforced at it stands. It may be
    /// admitted already.
    ///
    /// A set does not know of links: an index stays in it when its link is gone, so
    /// [`Gate::expel`] must be called for each that goes.
    ///
    /// # Errors
    ///
    /// [`GateError::Missing`] when the table is gone, and when the kernel refuses.
    pub fn admit(&self, port: Ifindex) -> Result<(), GateError> {
        self.let_through(Standing::Admitted, port)
    }

    /// Lets through what crosses a port, because its bridge is not governed; otherwise as
    /// [`Gate::admit`].
    ///
    /// # Errors
    ///
    /// As [`Gate::admit`].
    pub fn exempt(&self, port: Ifindex) -> Result<(), GateError> {
        self.let_through(Standing::Foreign, port)
    }

    /// Closes a port again, whichever set it is in. It may be closed already, or the table gone.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn expel(&self, port: Ifindex) -> Result<(), GateError> {
        for standing in Standing::ALL {
            // Asked first: a change that is refused makes the kernel wait for all processors, which
            // takes some 10 ms, and other changes of nftables wait for it.
            if self.socket.get(wire::get_element(standing, port))?.is_none() {
                continue;
            }
            match self.socket.change(None, vec![wire::take(standing, port)]) {
                Err(error) if error.is(Errno::ENOENT) => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// The ports that are let through: none if there is no table.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn ports(&self) -> Result<Ports, GateError> {
        let read = |standing| -> Result<BTreeSet<Ifindex>, GateError> {
            let mut ports = BTreeSet::new();
            for message in self.socket.list_raw(&wire::list_elements(standing))? {
                let read = read::elements(message.attributes());
                ports.extend(read.map_err(|source| GateError::Unreadable { source })?);
            }
            Ok(ports)
        };
        Ok(Ports { admitted: read(Standing::Admitted)?, foreign: read(Standing::Foreign)? })
    }

    /// Whether the table is there, and its sets, chains and rules are those that we make. What is
    /// in the sets is not looked at: that is [`Gate::ports`].
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or the table that is there is not ours.
    pub fn inspect(&self) -> Result<Condition, GateError> {
        let Some(Seen { shape, .. }) = self.look_undisturbed()? else {
            return Ok(Condition::Missing);
        };
        let found = differences(&shape);
        Ok(if found.is_empty() { Condition::Intact } else { Condition::Changed(found) })
    }

    /// What was dropped; `None` if there is no table.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or the table that is there is not ours.
    pub fn dropped(&self) -> Result<Option<Dropped>, GateError> {
        Ok(self.look()?.map(|seen| seen.dropped))
    }

    /// Removes the gate, which opens every port; tells whether there was one.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or the table that is there is not ours.
    pub fn remove(&self) -> Result<bool, GateError> {
        for _ in 0..ATTEMPTS {
            let generation = self.socket.generation()?;
            if self.look()?.is_none() {
                return Ok(false);
            }
            match self.socket.change(Some(generation), vec![wire::remove()]) {
                Err(error) if is_stale(&error) => {}
                result => return result.map(|()| true),
            }
        }
        Err(GateError::Unsettled { operation: Operation::Remove })
    }

    fn let_through(&self, standing: Standing, port: Ifindex) -> Result<(), GateError> {
        let commands = wire::add(standing, &BTreeSet::from([port]));
        match self.socket.change(None, commands) {
            Err(error) if error.is(Errno::ENOENT) => Err(GateError::Missing),
            result => result,
        }
    }

    /// As [`Self::look`], but all of it from one state of nftables.
    fn look_undisturbed(&self) -> Result<Option<Seen>, GateError> {
        for _ in 0..ATTEMPTS {
            let generation = self.socket.generation()?;
            let seen = self.look()?;
            if self.socket.generation()? == generation {
                return Ok(seen);
            }
        }
        Err(GateError::Unsettled { operation: Operation::Look })
    }

    /// Reads the table, all but the elements of its sets.
    fn look(&self) -> Result<Option<Seen>, GateError> {
        let Some(NfTablesMessage::NewTable(table)) = self.socket.get(wire::get_table())? else {
            return Ok(None);
        };
        let read::Table { ours, flags, objects } = read::table(&table);
        if !ours {
            return Err(GateError::NotOurs);
        }
        let sets = self.socket.list(&wire::list_sets())?;
        let sets = sets.iter().filter_map(|message| match message {
            NfTablesMessage::NewSet(set) => Some(read::set(set)),
            _ => None,
        });
        let mut sets: Vec<_> = sets.collect();
        sets.sort();
        let (mut chains, mut rules) = (Vec::new(), Vec::new());
        let mut dropped = Dropped::default();
        for hook in Hook::ALL {
            chains.push(match self.socket.get(wire::get_chain(hook))? {
                Some(NfTablesMessage::NewChain(chain)) => Some(read::chain(&chain)),
                _ => None,
            });
            let mut of_chain = Vec::new();
            for message in self.socket.list(&wire::list_rules(hook))? {
                if let NfTablesMessage::NewRule(rule) = message {
                    of_chain.push(read::rule(&rule));
                    dropped.add(hook, read::counter(&rule));
                }
            }
            rules.push(of_chain);
        }
        Ok(Some(Seen { shape: Shape { flags, objects, sets, chains, rules }, dropped }))
    }
}

impl Dropped {
    fn add(&mut self, hook: Hook, counted: Counted) {
        let sum = match hook.end() {
            End::In => &mut self.from,
            End::Out => &mut self.to,
        };
        sum.packets = sum.packets.saturating_add(counted.packets);
        sum.bytes = sum.bytes.saturating_add(counted.bytes);
    }
}

/// Whether nftables was changed between looking and changing.
fn is_stale(error: &GateError) -> bool {
    error.is(Errno::ERESTART)
}
