//! Which name servers Docker gives to containers that were given none: those of its own
//! configuration, else those of the host. Reads files of the host, and decides nothing.
//!
//! Docker takes the host's from `/etc/resolv.conf`, and where that names systemd's stub alone, from
//! the file in which systemd tells what is behind the stub.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tracing::warn;

use crate::error::chain;
use crate::facts::Nameservers;

/// Where systemd's stub listens.
const STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));
/// Directories with nothing but name servers in them, of systemd and of resolvconf.
const OF_RESOLVERS: [&str; 2] = ["/run/systemd/resolve", "/run/resolvconf"];
/// How much of a file is read.
const LONGEST: u64 = 64 << 10;
/// How many name servers are kept of a file. The C library asks the first three.
const MOST: usize = 16;

/// The files.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// The host's name servers.
    resolv_conf: PathBuf,
    /// Those behind systemd's stub.
    behind_stub: PathBuf,
    /// Docker's configuration.
    daemon_json: PathBuf,
}

/// What the files say.
#[derive(Debug)]
pub(crate) struct Found {
    of_host: Result<Vec<IpAddr>, Unreadable>,
    of_docker: Result<Vec<IpAddr>, Unreadable>,
}

/// What the files said when they could be read, and why they cannot be.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) nameservers: Nameservers,
    told: Vec<String>,
}

/// A file does not tell.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not what Docker reads", path.display())]
    Senseless {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

impl Files {
    /// The host's.
    pub(crate) fn of_system() -> Self {
        Self {
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            behind_stub: PathBuf::from("/run/systemd/resolve/resolv.conf"),
            daemon_json: PathBuf::from("/etc/docker/daemon.json"),
        }
    }

    /// What has to be within reach to read them. Who writes `resolv.conf` often replaces it, which
    /// is seen where it is a link into a directory that is for that alone.
    pub(crate) fn reach(&self) -> Vec<PathBuf> {
        let Self { resolv_conf, behind_stub: _, daemon_json } = self;
        let directories = OF_RESOLVERS.map(PathBuf::from);
        [resolv_conf.clone(), daemon_json.clone()].into_iter().chain(directories).collect()
    }

    /// Reads them.
    pub(crate) fn read(&self) -> Found {
        let Self { resolv_conf, behind_stub, daemon_json } = self;
        let of_host = text_of(resolv_conf).map(|text| nameservers_in(&text));
        let of_host = match of_host {
            Ok(found) if found == [STUB] => text_of(behind_stub).map(|text| nameservers_in(&text)),
            found => found,
        };
        Found {
            of_host,
            of_docker: text_of(daemon_json).and_then(|text| of_docker(daemon_json, &text)),
        }
    }
}

impl Known {
    /// Takes what was found. What cannot be read any more stays as it was.
    pub(crate) fn take(&mut self, found: Found) {
        let Found { of_host, of_docker } = found;
        let mut reasons = Vec::new();
        match of_host {
            Ok(of_host) => self.set_of_host(of_host),
            Err(error) => reasons.push(chain(&error)),
        }
        match of_docker {
            Ok(of_docker) => self.nameservers.of_docker = of_docker,
            Err(error) => reasons.push(chain(&error)),
        }
        for reason in reasons.iter().filter(|reason| !self.told.contains(reason)) {
            warn!(
                reason,
                "name servers cannot be read: restart the daemon if the file was replaced"
            );
        }
        self.told = reasons;
    }

    fn set_of_host(&mut self, now: Vec<IpAddr>) {
        let Nameservers { of_docker: _, of_host, earlier } = &mut self.nameservers;
        let before = of_host.take().unwrap_or_default().into_iter().chain(std::mem::take(earlier));
        let mut gone: Vec<IpAddr> = before.filter(|ip| !now.contains(ip)).collect();
        gone.truncate(MOST);
        *earlier = gone;
        *of_host = Some(now);
    }
}

/// The text of a file; nothing if there is none, as Docker has it.
fn text_of(path: &Path) -> Result<String, Unreadable> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(Unreadable::Read { path: path.to_owned(), source }),
    }
}

/// The name servers of a `resolv.conf`, as Docker reads it. Pure.
fn nameservers_in(text: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        address_of(words.next()?)
    };
    text.lines().filter_map(address).take(MOST).collect()
}

/// The name servers of Docker's configuration. Pure.
fn of_docker(path: &Path, text: &str) -> Result<Vec<IpAddr>, Unreadable> {
    #[derive(Default, Deserialize)]
    struct DaemonJson {
        dns: Option<Vec<String>>,
    }
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let document: DaemonJson = serde_json::from_str(text)
        .map_err(|source| Unreadable::Senseless { path: path.to_owned(), source })?;
    let dns = document.dns.unwrap_or_default();
    Ok(dns.iter().filter_map(|text| address_of(text)).take(MOST).collect())
}

/// An address, without the interface that one of link-local scope may name.
fn address_of(text: &str) -> Option<IpAddr> {
    let address = text.split_once('%').map_or(text, |(address, _zone)| address);
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Host {
        directory: tempfile::TempDir,
        files: Files,
    }

    impl Host {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = |name: &str| directory.path().join(name);
            let files = Files {
                resolv_conf: path("resolv.conf"),
                behind_stub: path("behind.conf"),
                daemon_json: path("daemon.json"),
            };
            Self { directory, files }
        }

        fn write(&self, name: &str, text: &str) -> &Self {
            fs::write(self.directory.path().join(name), text).unwrap();
            self
        }

        fn take(&self, known: &mut Known) -> (Option<Vec<String>>, Vec<String>) {
            known.take(self.files.read());
            let texts = |ips: &Vec<IpAddr>| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>();
            let Nameservers { of_docker, of_host, earlier: _ } = &known.nameservers;
            (of_host.as_ref().map(texts), texts(of_docker))
        }

        fn read(&self) -> (Option<Vec<String>>, Vec<String>) {
            self.take(&mut Known::default())
        }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn name_servers_are_read_as_docker_reads_them() {
        for (text, expected) in [
            ("", vec![]),
            ("nameserver 10.0.0.2\nnameserver 10.0.0.3", vec!["10.0.0.2", "10.0.0.3"]),
            ("  nameserver\t10.0.0.2   # the first\r\n", vec!["10.0.0.2"]),
            ("# nameserver 10.0.0.2\n;nameserver 10.0.0.3\n#nameserver 10.0.0.4", vec![]),
            ("domain a.b\nsearch a.b c\noptions edns0\nnameserver fd00::2", vec!["fd00::2"]),
            ("nameserver fe80::1%eth0", vec!["fe80::1"]),
            ("nameserver\nnameserver dns.example\nnameserver 10.0.0.256", vec![]),
            ("nameservers 10.0.0.2\nNameserver 10.0.0.3", vec![]),
            ("nameserver 127.0.0.1\nnameserver 10.0.0.2", vec!["127.0.0.1", "10.0.0.2"]),
        ] {
            let found: Vec<_> = nameservers_in(text).iter().map(IpAddr::to_string).collect();
            assert_eq!(found, expected, "{text:?}");
        }
        assert_eq!(nameservers_in(&"nameserver ::1\n".repeat(1000)).len(), MOST);
    }

    #[test]
    fn behind_systemds_stub_are_the_real_ones() {
        let host = Host::new();
        host.write("behind.conf", "nameserver 10.0.0.2\n");
        host.write("resolv.conf", "nameserver 127.0.0.53\noptions edns0 trust-ad\n");
        assert_eq!(host.read().0, Some(texts(&["10.0.0.2"])));
        host.write("resolv.conf", "nameserver 127.0.0.53\nnameserver 10.0.0.3\n");
        let expected = texts(&["127.0.0.53", "10.0.0.3"]);
        assert_eq!(host.read().0, Some(expected), "Docker wants it to be the only one");
        host.write("resolv.conf", "nameserver 127.0.0.1\n");
        assert_eq!(host.read().0, Some(texts(&["127.0.0.1"])), "another's is not systemd's");
    }

    #[test]
    fn dockers_own_are_read_apart() {
        let host = Host::new();
        assert_eq!(host.read(), (Some(Vec::new()), Vec::new()), "there is no file");
        for (text, expected) in [
            (r#"{"dns":["10.0.0.2","x"],"debug":true}"#, vec!["10.0.0.2"]),
            (r#"{"dns":null}"#, vec![]),
            ("{}", vec![]),
            (" \n", vec![]),
        ] {
            host.write("daemon.json", text);
            assert_eq!(host.read().1, texts(&expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_any_more_stays_as_it_was() {
        let host = Host::new();
        host.write("resolv.conf", "nameserver 10.0.0.2").write("daemon.json", r#"{"dns":["::2"]}"#);
        let mut known = Known::default();
        let before = host.take(&mut known);
        assert_eq!(before, (Some(texts(&["10.0.0.2"])), texts(&["::2"])));
        fs::remove_file(&host.files.resolv_conf).unwrap();
        fs::create_dir(&host.files.resolv_conf).unwrap();
        host.write("daemon.json", "{");
        assert_eq!(host.take(&mut known), before);
        assert_eq!(known.told.len(), 2, "{:?}", known.told);
        assert_eq!(host.read().0, None, "who never read it does not know");
    }

    #[test]
    fn what_the_host_had_before_is_remembered_and_bounded() {
        let host = Host::new();
        let mut known = Known::default();
        let mut earlier = |text: &str| {
            host.write("resolv.conf", text).take(&mut known);
            known.nameservers.earlier.iter().map(IpAddr::to_string).collect::<Vec<_>>()
        };
        assert!(earlier("nameserver ::1\nnameserver ::2").is_empty());
        assert_eq!(earlier("nameserver ::2\nnameserver ::3"), ["::1"]);
        assert_eq!(earlier("nameserver ::4"), ["::2", "::3", "::1"]);
        assert_eq!(earlier("nameserver ::1"), ["::4", "::2", "::3"], "it is back");
        for n in 0x10..0x100 {
            assert!(earlier(&format!("nameserver ::{n:x}")).len() <= MOST);
        }
    }

    #[test]
    fn nothing_else_is_within_reach() {
        let reach = Files::of_system().reach();
        for wide in
            ["/etc/shadow", "/etc/docker/key.json", "/run/docker.sock", "/run/NetworkManager"]
        {
            assert!(
                !reach.iter().any(|path| Path::new(wide).starts_with(path)),
                "{wide}: {reach:?}"
            );
        }
    }
}
