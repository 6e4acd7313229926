//! Names that make a container's namespace visible to `ip netns`, and the records that say which of
//! the names are ours.
//!
//! A name is an entry in `/var/run/netns`. It is made only where there is nothing, and removed only
//! if it is still what its record says; whatever else is there belongs to someone else. The record
//! is on disk before its entry is, so that no crash leaves an entry that is ours but that nobody
//! knows of.
//!
//! Records are kept in `/run` and not in `/var/lib`, because nothing that they tell of outlives a
//! reboot: neither the processes, nor Docker's namespace files, nor `/var/run/netns` itself.

mod entry;
mod error;
mod mount;
mod name;
mod record;
mod store;

pub use entry::{Stale, State};
pub use error::LinkError;
pub use name::{BadName, LinkName};
pub use record::{LinkedContainer, ProcessStamp, Record, Target};
pub use store::{Listed, Made, Request, Store, Swept, Unlinked};
