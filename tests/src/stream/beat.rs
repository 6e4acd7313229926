//! A steady beat of datagrams that are echoed: what somebody loses who has nothing to do with it.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::send::write_whole;
use crate::wait::Pacer;

/// An echo that took longer than this is lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// When each datagram was sent whose echo is not back yet.
type Waiting = Arc<Mutex<BTreeMap<u64, Instant>>>;

/// Sends a datagram in each period to an echo server, until killed; `told` always holds how many
/// were sent, and how many of them were lost.
///
/// # Errors
///
/// When there can be no socket, or the numbers cannot be told.
pub fn beat(to: SocketAddr, period: Duration, told: &Path) -> Result<()> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to).with_context(|| format!("find a way to {to}"))?;
    let waiting = Waiting::default();
    let (receiver, echoes) = (socket.try_clone()?, Arc::clone(&waiting));
    thread::spawn(move || take_echoes(&receiver, &echoes));
    let mut pacer = Pacer::every(period);
    let (mut lost, mut next) = (0, Instant::now());
    for number in 0_u64.. {
        lock(&waiting).insert(number, Instant::now());
        // A datagram that is refused at once is one that does not come back.
        socket.send(&number.to_be_bytes()).ok();
        lock(&waiting).retain(|_, sent| {
            let late = sent.elapsed() > PATIENCE;
            lost += u64::from(late);
            !late
        });
        if Instant::now() >= next {
            write_whole(told, &format!("{} {lost}", number + 1))?;
            next = Instant::now() + Duration::from_millis(100);
        }
        pacer.tick();
    }
    Ok(())
}

fn take_echoes(socket: &UdpSocket, waiting: &Waiting) {
    let mut buffer = [0; 8];
    loop {
        // An error is a port that was closed: the datagram stays lost.
        if let Ok(8) = socket.recv(&mut buffer) {
            lock(waiting).remove(&u64::from_be_bytes(buffer));
        }
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, BTreeMap<u64, Instant>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
