//! Sender and receiver of test traffic, run inside network namespaces by the harness.
//!
//! `serve PORT` echoes TCP and UDP on every address; `tcp ADDRESS MILLISECONDS BYTES` and `udp …`
//! send once and print what came of it. One datagram is sent once, in as many fragments as it takes.
//! `volley ADDRESS MILLISECONDS BYTES` sends datagrams for so long, each once the last one was echoed,
//! and `flood …` without waiting; they print how many were sent, and how many were echoed.
//! `scatter ADDRESS COUNT` sends a datagram from each of so many ports, and waits for none.
//! `names OWN V4 V6` is a name server at an address, to which all names are one host's.
//! `send`, `deluge`, `count`, `beat` and `talk` are the ends of the streams of
//! [`ebpf_netns_tests::stream`].
#![forbid(unsafe_code)]

use std::{
    env,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use ebpf_netns_tests::{
    dns,
    stream::{self, Kind},
};

/// What is sent, over and over until it is as long as asked for.
const MESSAGE: &[u8] = b"ebpf-netns probe";

/// How long a volley waits for an echo, which takes microseconds, before it takes it for lost.
const LOST: Duration = Duration::from_millis(500);

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve", port] => serve(port.parse().context("parse the port")?),
        ["send", sender, period] => {
            stream::send(sender.parse()?, Duration::from_micros(period.parse()?))
        }
        ["deluge", sender, kind, told] => {
            let kind = Kind::named(kind).with_context(|| format!("no kind {kind:?}"))?;
            stream::flood(sender.parse()?, kind, Path::new(told))
        }
        ["count", told] => stream::count(Path::new(told)),
        ["beat", to, period, told] => {
            let period = Duration::from_micros(period.parse()?);
            stream::beat(to.parse()?, period, Path::new(told))
        }
        ["talk", to, period, told] => {
            let period = Duration::from_micros(period.parse()?);
            stream::talk(to.parse()?, period, Path::new(told))
        }
        ["scatter", to, count] => scatter(to.parse()?, count.parse()?),
        ["names", own, v4, v6] => names(own.parse()?, v4.parse()?, v6.parse()?),
        [kind, to, patience, bytes] => {
            let to = to.parse().context("parse the address")?;
            let patience = Duration::from_millis(patience.parse().context("parse the patience")?);
            let bytes = bytes.parse().context("parse the number of bytes")?;
            let message: Vec<u8> = MESSAGE.iter().copied().cycle().take(bytes).collect();
            match *kind {
                "volley" => return volley(to, patience, message),
                "flood" => return flood(to, patience, &message),
                _ => {}
            }
            let outcome = match *kind {
                "tcp" => tcp(to, patience, &message),
                "udp" => udp(to, patience, &message),
                other => bail!("unknown kind {other:?}"),
            };
            say(name(&outcome)?)
        }
        _ => bail!(
            "usage: serve PORT | tcp ADDRESS MILLISECONDS BYTES | udp … | volley … | flood … | \
             scatter ADDRESS COUNT | names OWN V4 V6 | send ID MICROSECONDS | deluge ID KIND FILE | \
             count FILE | beat ADDRESS MICROSECONDS FILE | talk ADDRESS MICROSECONDS FILE"
        ),
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
    let socket = udp_socket(to, patience)?;
    socket.send(message)?;
    let mut echo = vec![0; message.len()];
    socket.recv(&mut echo)?;
    same(&echo, message)
}

/// Sends for as long as told; at most one datagram is on its way.
fn volley(to: SocketAddr, length: Duration, mut message: Vec<u8>) -> Result<()> {
    let socket = udp_socket(to, LOST)?;
    let (mut sent, mut echoed) = (0_u64, 0_u64);
    let mut echo = vec![0; message.len()];
    let start = Instant::now();
    while start.elapsed() < length {
        sent += 1;
        let number = sent.to_be_bytes();
        message.get_mut(..number.len()).context("a volley takes 8 bytes")?.copy_from_slice(&number);
        // What the sender's own host drops is lost as well.
        if socket.send(&message).is_err() {
            continue;
        }
        // An echo that comes late was counted as lost.
        while socket.recv(&mut echo).is_ok() {
            if echo == message {
                echoed += 1;
                break;
            }
        }
    }
    say(&format!("{sent} {echoed}"))
}

/// Sends for as long as told, as fast as it can.
fn flood(to: SocketAddr, length: Duration, message: &[u8]) -> Result<()> {
    let socket = udp_socket(to, LOST)?;
    let mut sent = 0_u64;
    let start = Instant::now();
    while start.elapsed() < length {
        sent += u64::from(socket.send(message).is_ok());
    }
    say(&format!("{sent} 0"))
}

/// The first port that [`scatter`] sends from.
const FIRST_PORT: u16 = 10_000;

/// Sends one datagram from each of so many ports.
fn scatter(to: SocketAddr, count: u16) -> Result<()> {
    let any: IpAddr =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let mut sent = 0;
    for port in (FIRST_PORT..=u16::MAX).take(count.into()) {
        // Somebody else may have the port.
        let Ok(socket) = UdpSocket::bind((any, port)) else { continue };
        sent += u64::from(socket.send_to(MESSAGE, to).is_ok());
    }
    say(&format!("{sent} 0"))
}

/// Answers questions for addresses until killed: every name has these two.
fn names(own: IpAddr, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<()> {
    let socket = UdpSocket::bind((own, 53)).context("listen on UDP")?;
    say("listening")?;
    let mut buffer = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).context("receive")?;
        if let Some(answer) =
            buffer.get(..length).and_then(|question| dns::answer(question, v4, v6))
        {
            drop(socket.send_to(&answer, from));
        }
    }
}

fn udp_socket(to: SocketAddr, patience: Duration) -> io::Result<UdpSocket> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(to)?;
    Ok(socket)
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
