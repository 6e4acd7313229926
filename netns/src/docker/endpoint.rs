//! Where the Docker engine is, from `DOCKER_HOST`.

use std::{
    env, fmt, io,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use tokio::{fs, net::UnixStream};

use super::DockerError;

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Where a Docker engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// `host:port`, spoken to in plain HTTP: a proxy on this machine.
    Tcp(String),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// Why a `DOCKER_HOST` cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// An engine elsewhere has its network namespaces elsewhere.
    #[error(
        "ssh reaches an engine on another machine, but its namespaces are there: run this there"
    )]
    Ssh,
    /// TLS is not built in.
    #[error(
        "TLS is not supported: use the engine's socket on its own machine (unset DOCKER_HOST and DOCKER_TLS_VERIFY)"
    )]
    Tls,
    /// A scheme that is none of Docker's, or no scheme.
    #[error("it must begin with unix:// or tcp://")]
    Scheme,
    /// A relative or empty socket path.
    #[error("the socket's path must be absolute, as in unix:///var/run/docker.sock")]
    RelativePath,
    /// Not `host:port`.
    #[error("a host and a port are needed, as in tcp://127.0.0.1:2375")]
    Address,
}

impl Endpoint {
    /// The engine that the environment names, or the default socket.
    ///
    /// # Errors
    ///
    /// When `DOCKER_HOST` is set to what cannot be used.
    pub fn from_environment() -> Result<Self, DockerError> {
        let host = env::var_os("DOCKER_HOST").unwrap_or_default();
        let tls = env::var_os("DOCKER_TLS_VERIFY").is_some_and(|value| !value.is_empty());
        let host = host.to_string_lossy();
        Self::parse(&host, tls)
            .map_err(|reason| DockerError::BadEndpoint { host: host.into_owned(), reason })
    }

    /// Reads a `DOCKER_HOST`. An empty one means the default socket. `tls` is whether
    /// `DOCKER_TLS_VERIFY` is set.
    ///
    /// # Errors
    ///
    /// When it cannot be used.
    pub fn parse(host: &str, tls: bool) -> Result<Self, BadEndpoint> {
        if host.is_empty() {
            return Ok(Self::Unix(DEFAULT_SOCKET.into()));
        }
        match host.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("unix", _)) => Err(BadEndpoint::RelativePath),
            Some(("tcp" | "http", _)) if tls => Err(BadEndpoint::Tls),
            Some(("tcp" | "http", rest)) => tcp_address(rest).ok_or(BadEndpoint::Address),
            Some(("https", _)) => Err(BadEndpoint::Tls),
            Some(("ssh", _)) => Err(BadEndpoint::Ssh),
            _ => Err(BadEndpoint::Scheme),
        }
    }
}

fn tcp_address(rest: &str) -> Option<Endpoint> {
    let address = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = address.rsplit_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_is_good = match literal {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(plain),
    };
    let port_is_good = port.parse::<u16>().is_ok_and(|port| port != 0);
    (host_is_good && port_is_good).then(|| Endpoint::Tcp(address.to_owned()))
}

/// Connects to a socket.
///
/// # Errors
///
/// When nobody listens there; the error says what to do about it, where a client would only say that
/// something failed.
pub async fn connect_unix(path: &Path) -> Result<UnixStream, DockerError> {
    let named = path.to_owned();
    let metadata = match fs::metadata(path).await {
        Ok(metadata) => metadata,
        Err(error) => return Err(socket_error(named, error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(DockerError::NotASocket { path: named });
    }
    UnixStream::connect(path).await.map_err(|error| socket_error(named, error))
}

fn socket_error(path: PathBuf, source: io::Error) -> DockerError {
    match source.kind() {
        io::ErrorKind::NotFound => DockerError::NoSocket { path },
        io::ErrorKind::PermissionDenied => DockerError::Denied { path },
        io::ErrorKind::ConnectionRefused => DockerError::NotRunning { path },
        io::ErrorKind::NotADirectory => DockerError::NotASocket { path },
        _ => DockerError::Connect { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_host_is_taken_or_refused_with_the_reason() {
        let unix = |path: &str| Ok(Endpoint::Unix(path.into()));
        let tcp = |address: &str| Ok(Endpoint::Tcp(address.into()));
        let cases = [
            ("", unix("/var/run/docker.sock")),
            ("unix:///run/user/1000/docker.sock", unix("/run/user/1000/docker.sock")),
            ("unix://docker.sock", Err(BadEndpoint::RelativePath)),
            ("unix://", Err(BadEndpoint::RelativePath)),
            ("tcp://127.0.0.1:2375", tcp("127.0.0.1:2375")),
            ("tcp://proxy:2375/", tcp("proxy:2375")),
            ("tcp://[::1]:2375", tcp("[::1]:2375")),
            ("http://localhost:2375", tcp("localhost:2375")),
            ("tcp://", Err(BadEndpoint::Address)),
            ("tcp://host", Err(BadEndpoint::Address)),
            ("tcp://host:0", Err(BadEndpoint::Address)),
            ("tcp://host:99999", Err(BadEndpoint::Address)),
            ("tcp://user@host:2375", Err(BadEndpoint::Address)),
            ("tcp://host/path:2375", Err(BadEndpoint::Address)),
            ("https://host:2376", Err(BadEndpoint::Tls)),
            ("ssh://me@host", Err(BadEndpoint::Ssh)),
            ("npipe:////./pipe/docker_engine", Err(BadEndpoint::Scheme)),
            ("/var/run/docker.sock", Err(BadEndpoint::Scheme)),
            ("garbage", Err(BadEndpoint::Scheme)),
        ];
        for (host, expected) in cases {
            assert_eq!(Endpoint::parse(host, false), expected, "{host:?}");
        }
        assert_eq!(Endpoint::parse("tcp://127.0.0.1:2376", true), Err(BadEndpoint::Tls));
        assert_eq!(Endpoint::parse("", true), unix("/var/run/docker.sock"));
    }

    #[tokio::test]
    async fn what_is_no_listening_socket_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent");
        assert!(matches!(connect_unix(&absent).await, Err(DockerError::NoSocket { .. })));
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(connect_unix(&file).await, Err(DockerError::NotASocket { .. })));
        let below = file.join("docker.sock");
        assert!(matches!(connect_unix(&below).await, Err(DockerError::NotASocket { .. })));
        let socket = dir.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        connect_unix(&socket).await.unwrap();
        drop(listener);
        assert!(matches!(connect_unix(&socket).await, Err(DockerError::NotRunning { .. })));
    }
}
