//! One TCP connection that carries something all the time: what somebody loses whose connection a
//! change of policy breaks.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::send::write_whole;
use crate::wait::Pacer;

/// Sends a number in each period to an echo server and waits until it is back, over one connection,
/// until that ends; `told` always holds how many came back, and behind that why it ended.
///
/// # Errors
///
/// When it cannot connect, what comes back is something else, or the number cannot be told.
pub fn talk(to: SocketAddr, period: Duration, told: &Path) -> Result<()> {
    let mut stream = TcpStream::connect(to).with_context(|| format!("connect to {to}"))?;
    stream.set_nodelay(true)?;
    let mut pacer = Pacer::every(period);
    for number in 0_u64.. {
        write_whole(told, &number.to_string())?;
        let mut echo = [0; 8];
        let sent = stream.write_all(&number.to_be_bytes());
        if let Err(error) = sent.and_then(|()| stream.read_exact(&mut echo)) {
            return write_whole(told, &format!("{number} {error}"));
        }
        ensure!(echo == number.to_be_bytes(), "another echo than of {number}: {echo:?}");
        pacer.tick();
    }
    Ok(())
}
