//! A container as Docker describes it, cut down to what finding its network needs.
//!
//! Anything may be missing from an answer: engines differ by version, and a container that is not
//! running has no network settings to speak of. What is missing is `None`, never a guess.

use std::{fmt, net::IpAddr, path::PathBuf};

use bollard::models::{
    ContainerInspectResponse, ContainerState as State, ContainerStateStatusEnum as Status,
    EndpointSettings,
};
use serde::Serialize;

use super::{DockerError, resolve};
use crate::{MacAddress, Pid};

/// What Docker writes for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Container {
    /// The full id: 64 hexadecimal digits.
    pub id: String,
    /// The name, without the slash that Docker puts before it.
    pub name: String,
    /// Whether it runs.
    pub state: ContainerState,
    /// The process that it began with, while that runs, as the engine's machine numbers it.
    pub pid: Option<Pid>,
    /// The file that stands for its network namespace. With `container:x` there is none; of a
    /// container that has stopped it may be stale.
    pub sandbox_key: Option<PathBuf>,
    /// Docker's id for its network stack: another one after each start.
    pub sandbox_id: Option<String>,
    /// Which network namespace it was told to use.
    pub network_mode: NetworkMode,
    /// When it was last started.
    pub started_at: Option<String>,
    /// The networks that it is on, in the order of their names.
    pub networks: Vec<ContainerNetwork>,
}

/// A network that a container is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContainerNetwork {
    /// Its name.
    pub name: String,
    /// Its id; `None` before the container's first start.
    pub network_id: Option<String>,
    /// The container's Ethernet address there.
    pub mac: Option<MacAddress>,
    /// The container's addresses there.
    pub addresses: Vec<IpAddr>,
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Made, and never started.
    Created,
    /// Running.
    Running,
    /// Running, and frozen.
    Paused,
    /// Ended, and waiting to be started again by its restart policy.
    Restarting,
    /// On its way out.
    Removing,
    /// Ended.
    Exited,
    /// Could not be removed.
    Dead,
    /// Docker did not say.
    Unknown,
}

impl ContainerState {
    /// Whether it has processes, and so a network namespace.
    #[must_use]
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        })
    }
}

/// Which network namespace a container was told to use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The host's.
    Host,
    /// Its own, with a loopback device alone.
    None,
    /// That of the container with this id or name.
    Container(String),
    /// Its own, on this network.
    Network(String),
}

impl From<&str> for NetworkMode {
    fn from(mode: &str) -> Self {
        match (mode, mode.strip_prefix("container:")) {
            (_, Some(other)) => Self::Container(other.to_owned()),
            ("host", _) => Self::Host,
            ("none", _) => Self::None,
            ("", _) => Self::Network("default".to_owned()),
            (network, _) => Self::Network(network.to_owned()),
        }
    }
}

impl Container {
    /// The first twelve digits of the id.
    #[must_use]
    pub fn short_id(&self) -> &str {
        resolve::short_id(&self.id)
    }
}

impl TryFrom<ContainerInspectResponse> for Container {
    type Error = DockerError;

    fn try_from(response: ContainerInspectResponse) -> Result<Self, DockerError> {
        let id = response.id.ok_or(DockerError::BadAnswer { what: "it has no container id" })?;
        let name = response.name.unwrap_or_default();
        let state = response.state.unwrap_or_default();
        let settings = response.network_settings.unwrap_or_default();
        let mode = response.host_config.and_then(|config| config.network_mode).unwrap_or_default();
        let mut networks: Vec<_> =
            settings.networks.unwrap_or_default().into_iter().map(network).collect();
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            id,
            name: name.strip_prefix('/').unwrap_or(&name).to_owned(),
            state: container_state(&state),
            pid: state.pid.and_then(|pid| Pid::try_from(pid).ok()),
            sandbox_key: not_empty(settings.sandbox_key).map(PathBuf::from),
            sandbox_id: not_empty(settings.sandbox_id),
            network_mode: NetworkMode::from(mode.as_str()),
            started_at: not_empty(state.started_at).filter(|time| time != NEVER),
            networks,
        })
    }
}

fn container_state(state: &State) -> ContainerState {
    match state.status {
        Some(Status::CREATED) => ContainerState::Created,
        Some(Status::RUNNING | Status::STOPPING) => ContainerState::Running,
        Some(Status::PAUSED) => ContainerState::Paused,
        Some(Status::RESTARTING) => ContainerState::Restarting,
        Some(Status::REMOVING) => ContainerState::Removing,
        Some(Status::EXITED) => ContainerState::Exited,
        Some(Status::DEAD) => ContainerState::Dead,
        Some(Status::EMPTY) | None => ContainerState::Unknown,
    }
}

fn network((name, endpoint): (String, EndpointSettings)) -> ContainerNetwork {
    let addresses = [endpoint.ip_address, endpoint.global_ipv6_address];
    ContainerNetwork {
        name,
        network_id: not_empty(endpoint.network_id),
        mac: endpoint.mac_address.and_then(|mac| mac.parse().ok()),
        addresses: addresses.into_iter().flatten().filter_map(|ip| ip.parse().ok()).collect(),
    }
}

fn not_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Container {
        let response: ContainerInspectResponse = serde_json::from_str(json).unwrap();
        response.try_into().unwrap()
    }

    #[test]
    fn a_running_container_is_read_whole() {
        let container = parse(
            r#"{"Id":"abcdef0123456789","Name":"/web","HostConfig":{"NetworkMode":"default"},
            "State":{"Status":"running","Pid":42,"StartedAt":"2026-01-02T03:04:05Z"},
            "NetworkSettings":{"SandboxID":"s1","SandboxKey":"/var/run/docker/netns/s1","Networks":{
              "b":{"NetworkID":"n2","MacAddress":"02:42:ac:12:00:02","IPAddress":"172.18.0.2"},
              "a":{"NetworkID":"n1","MacAddress":"","IPAddress":"","GlobalIPv6Address":"fd00::2"}}}}"#,
        );
        assert_eq!((container.name.as_str(), container.short_id()), ("web", "abcdef012345"));
        assert_eq!(
            (container.state, container.pid.map(Pid::get)),
            (ContainerState::Running, Some(42))
        );
        assert_eq!(container.network_mode, NetworkMode::Network("default".into()));
        let names: Vec<_> = container.networks.iter().map(|network| &network.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(container.networks[0].mac, None);
        assert_eq!(container.networks[0].addresses, ["fd00::2".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn missing_and_odd_parts_are_none_and_not_errors() {
        for json in [
            r#"{"Id":"a"}"#,
            r#"{"Id":"a","State":null,"NetworkSettings":null,"HostConfig":null}"#,
            r#"{"Id":"a","State":{},"NetworkSettings":{"Networks":null,"SandboxKey":""}}"#,
            r#"{"Id":"a","State":{"Pid":0,"StartedAt":"0001-01-01T00:00:00Z"},"Unknown":[1]}"#,
            r#"{"Id":"a","State":{"Pid":-1},"NetworkSettings":{"Networks":{}}}"#,
            r#"{"Id":"a","State":{"Pid":2147483648}}"#,
        ] {
            let container = parse(json);
            assert_eq!(container.pid, None, "{json}");
            assert_eq!(container.sandbox_key, None, "{json}");
            assert_eq!(container.started_at, None, "{json}");
            assert_eq!(container.state, ContainerState::Unknown, "{json}");
            assert!(container.networks.is_empty(), "{json}");
        }
    }

    #[test]
    fn an_answer_without_an_id_is_refused() {
        let response: ContainerInspectResponse = serde_json::from_str("{}").unwrap();
        assert!(matches!(Container::try_from(response), Err(DockerError::BadAnswer { .. })));
    }

    #[test]
    fn network_mode_is_read() {
        let cases = [
            ("host", NetworkMode::Host),
            ("none", NetworkMode::None),
            ("container:abc", NetworkMode::Container("abc".into())),
            ("bridge", NetworkMode::Network("bridge".into())),
            ("", NetworkMode::Network("default".into())),
        ];
        for (text, expected) in cases {
            assert_eq!(NetworkMode::from(text), expected);
        }
    }
}
