//! Sender and receiver of test traffic, run inside network namespaces by the harness.
//!
//! `serve PORT` echoes TCP and UDP on every address; `tcp ADDRESS MILLISECONDS BYTES` and `udp …`
//! send once and print what came of it. One datagram is sent once, in as many fragments as it takes.
#![forbid(unsafe_code)]

use std::{
    env,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// What is sent, over and over until it is as long as asked for.
const MESSAGE: &[u8] = b"ebpf-netns probe";

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve", port] => serve(port.parse().context("parse the port")?),
        [kind, to, patience, bytes] => {
            let to = to.parse().context("parse the address")?;
            let patience = Duration::from_millis(patience.parse().context("parse the patience")?);
            let bytes = bytes.parse().context("parse the number of bytes")?;
            let message: Vec<u8> = MESSAGE.iter().copied().cycle().take(bytes).collect();
            let outcome = match *kind {
                "tcp" => tcp(to, patience, &message),
                "udp" => udp(to, patience, &message),
                other => bail!("unknown kind {other:?}"),
            };
            say(name(&outcome)?)
        }
        _ => bail!("usage: serve PORT | tcp ADDRESS MILLISECONDS BYTES | udp …"),
    }
}

/// Echoes until killed. A socket of `::` takes IPv4 as well.
fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).context("listen on TCP")?;
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).context("listen on UDP")?;
    say("listening")?;
    let datagrams = thread::spawn(move || echo_datagrams(&socket));
    for stream in listener.incoming() {
        let stream = stream.context("accept")?;
        say("got a connection")?;
        thread::spawn(move || io::copy(&mut &stream, &mut &stream));
    }
    datagrams.join().ok().context("the UDP server panicked")?
}

fn echo_datagrams(socket: &UdpSocket) -> Result<()> {
    let mut buffer = vec![0; 65536];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).context("receive")?;
        say("got a datagram")?;
        // The way back may be closed, which is the sender's matter.
        drop(socket.send_to(buffer.get(..length).unwrap_or_default(), from));
    }
}

fn tcp(to: SocketAddr, patience: Duration, message: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(message)?;
    let mut echo = vec![0; message.len()];
    stream.read_exact(&mut echo)?;
    same(&echo, message)
}

fn udp(to: SocketAddr, patience: Duration, message: &[u8]) -> io::Result<()> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(to)?;
    socket.send(message)?;
    let mut echo = vec![0; message.len()];
    socket.recv(&mut echo)?;
    same(&echo, message)
}

fn same(echo: &[u8], message: &[u8]) -> io::Result<()> {
    if echo == message { Ok(()) } else { Err(io::Error::other("the echo differs")) }
}

fn name(outcome: &io::Result<()>) -> Result<&'static str> {
    let Err(error) = outcome else { return Ok("echoed") };
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Ok("refused"),
        // A sender on this host is told of a drop in its own stack as a lack of permission.
        ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::PermissionDenied => {
            Ok("timed out")
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Ok("unreachable"),
        _ => bail!("probe: {error}"),
    }
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout().lock(), "{line}").context("write to stdout")
}
