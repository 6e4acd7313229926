//! How the engine asks the Docker source for another look, and tells which answers cover what it
//! has seen meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// A request for another look, shared by the engine, which asks, and the Docker source, which looks.
///
/// Each request has a number. A [`Snapshot`](crate::facts::Snapshot) carries the number of the last
/// request made before its look began: all that had happened by then is in it.
#[derive(Debug, Default)]
pub struct Look {
    asked: AtomicU64,
    everyone: AtomicBool,
    wake: Notify,
}

impl Look {
    /// Asks for another look at once; returns the request's number.
    pub fn ask(&self) -> u64 {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        number
    }

    /// The number of the last request, to be read before a look begins.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits until somebody asks.
    pub async fn wait(&self) {
        self.wake.notified().await;
    }

    /// Says whether containers without labels of ours have to be described too, which costs Docker
    /// a question for each of them.
    pub fn describe_everyone(&self, everyone: bool) {
        self.everyone.store(everyone, Ordering::SeqCst);
    }

    /// Whether containers without labels of ours have to be described too.
    #[must_use]
    pub fn wants_everyone(&self) -> bool {
        self.everyone.load(Ordering::SeqCst)
    }
}
