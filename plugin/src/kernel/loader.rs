//! Loading the operator's programs, on a thread of its own: reading a file and verifying a program
//! may take a second, and no interface is to wait for that.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use super::instance::{Loaded, Order, fill};
use super::load::LoadError;
use crate::sandbox::come_in_turn;

/// Called on the loader's thread with what became of an order.
pub type LoaderReply = Box<dyn FnOnce(Loaded) + Send>;

/// The thread. It ends some time after this is dropped: nobody waits for a verifier, and what is loaded
/// by half is cleared by the next daemon.
pub(super) struct Loader {
    orders: mpsc::Sender<(Order, LoaderReply)>,
}

impl Loader {
    /// Starts the thread. It loads from this directory, and pins what it loaded below that one.
    pub(super) fn start(directory: PathBuf, containers: PathBuf) -> Result<Self, LoadError> {
        let (orders, given) = mpsc::channel::<(Order, LoaderReply)>();
        let work = move || {
            come_in_turn();
            for (order, reply) in given {
                let result = fill(&order, &directory, &containers);
                reply(Loaded { order, result });
            }
        };
        thread::Builder::new()
            .name("programs".to_owned())
            .spawn(work)
            .map_err(LoadError::Thread)?;
        Ok(Self { orders })
    }

    pub(super) fn order(&self, order: Order, reply: LoaderReply) {
        // It takes orders for as long as there is somebody to give them.
        self.orders.send((order, reply)).ok();
    }
}
