//! A network namespace of one's own, to try something in. It has a loopback device and nothing else,
//! and is gone with all that was put into it. No namespace that is there already is entered.

use std::{io, thread};

use nix::sched::{CloneFlags, unshare};

/// There is no namespace to try something in.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// The kernel refuses one.
    #[error("make a network namespace, which takes CAP_SYS_ADMIN")]
    Unshare(#[source] io::Error),
    /// The thread could not be started.
    #[error("start a thread for a network namespace")]
    Thread(#[source] io::Error),
    /// The work panicked: a bug.
    #[error("what was tried in a network namespace panicked: a bug")]
    Panicked,
}

impl ScratchError {
    /// Whether this is for want of permission.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Unshare(error) if error.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// Does work on a thread of its own, in a network namespace of its own, and returns what it returns.
/// Needs `CAP_SYS_ADMIN`.
///
/// # Errors
///
/// When there is none to be had; the work is not done then.
pub fn in_new_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, ScratchError> {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| ScratchError::Unshare(errno.into()))?;
        Ok(work())
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("scratch".to_owned());
        let running = thread.spawn_scoped(scope, inside).map_err(ScratchError::Thread)?;
        running.join().map_err(|_panic| ScratchError::Panicked)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinkKind, Namespace, Rtnl};

    #[test]
    fn work_is_done_elsewhere_or_refused_for_want_of_permission() {
        let before = Namespace::own().unwrap().identity();
        let seen = in_new_namespace(|| {
            let rtnl = Rtnl::open().unwrap();
            let links: Vec<LinkKind> =
                rtnl.links().unwrap().into_iter().map(|link| link.kind).collect();
            (rtnl.own().identity(), links)
        });
        match seen {
            Ok((inside, links)) => {
                assert_ne!(inside, before, "it is another namespace");
                assert!(links.contains(&LinkKind::Loopback), "with a loopback device: {links:?}");
                assert!(!links.contains(&LinkKind::Physical), "and nothing of ours: {links:?}");
            }
            Err(error) => assert!(error.is_permission(), "{error}"),
        }
        assert_eq!(Namespace::own().unwrap().identity(), before, "and this thread is where it was");
    }
}
