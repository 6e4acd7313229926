//! The description of a container.

use std::net::IpAddr;
use std::path::PathBuf;

use ebpf_netns::Pid;
use serde::Deserialize;

use super::container::is_alive;
use super::network::address_of;

/// What Docker writes for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// How many name servers are kept of a container. The C library asks the first three.
const MOST_NAMESERVERS: usize = 16;

/// A container as it was described.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Inspection")]
pub(in crate::docker) struct Description {
    pub(in crate::docker) id: String,
    pub(in crate::docker) alive: bool,
    pub(in crate::docker) sandbox_key: Option<PathBuf>,
    pub(in crate::docker) pid: Option<Pid>,
    pub(in crate::docker) started_at: Option<String>,
    /// The name servers that it was given itself.
    pub(in crate::docker) nameservers: Vec<IpAddr>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspection {
    id: String,
    state: Option<State>,
    network_settings: Option<NetworkSettings>,
    host_config: Option<HostConfig>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    dns: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: Option<String>,
    pid: Option<i64>,
    started_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    sandbox_key: Option<String>,
}

impl From<Inspection> for Description {
    fn from(inspection: Inspection) -> Self {
        let Inspection { id, state, network_settings, host_config } = inspection;
        let State { status, pid, started_at } = state.unwrap_or_default();
        let sandbox_key = network_settings.and_then(|settings| settings.sandbox_key);
        let nameservers = host_config.unwrap_or_default().dns.unwrap_or_default();
        let nameservers = nameservers.iter().filter_map(|text| address_of(text));
        Self {
            id,
            nameservers: nameservers.take(MOST_NAMESERVERS).collect(),
            alive: status.as_deref().is_some_and(is_alive),
            sandbox_key: sandbox_key.filter(|key| !key.is_empty()).map(PathBuf::from),
            pid: pid.and_then(|pid| Pid::try_from(pid).ok()),
            started_at: started_at.filter(|time| !time.is_empty() && time != NEVER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_description_lacks_is_none() {
        let read = |json: &str| serde_json::from_str::<Description>(json).unwrap();
        let web = read(
            r#"{"Id":"c1","State":{"Status":"running","Pid":42,"StartedAt":"2026-01-02T03:04:05Z"},
            "NetworkSettings":{"SandboxKey":"/var/run/docker/netns/s1"}}"#,
        );
        assert_eq!((web.alive, web.pid.map(Pid::get)), (true, Some(42)));
        assert_eq!(web.sandbox_key, Some(PathBuf::from("/var/run/docker/netns/s1")));
        for json in [
            r#"{"Id":"c1"}"#,
            r#"{"Id":"c1","State":null,"NetworkSettings":null}"#,
            r#"{"Id":"c1","State":{"Pid":0,"StartedAt":"0001-01-01T00:00:00Z"}}"#,
            r#"{"Id":"c1","State":{"Pid":2147483648},"NetworkSettings":{"SandboxKey":""}}"#,
        ] {
            let one = read(json);
            assert_eq!((one.pid, one.sandbox_key, one.started_at), (None, None, None), "{json}");
            assert!(!one.alive, "{json}");
        }
    }

    #[test]
    fn name_servers_of_its_own_are_read() {
        for (json, expected) in [
            (
                r#"{"Id":"c1","HostConfig":{"Dns":["10.0.0.2","x","fd00::2"]}}"#,
                vec!["10.0.0.2", "fd00::2"],
            ),
            (r#"{"Id":"c1","HostConfig":{"Dns":[],"DnsOptions":[]}}"#, vec![]),
            (r#"{"Id":"c1","HostConfig":{"Dns":null}}"#, vec![]),
            (r#"{"Id":"c1","HostConfig":null}"#, vec![]),
        ] {
            let one: Description = serde_json::from_str(json).unwrap();
            let found: Vec<_> = one.nameservers.iter().map(IpAddr::to_string).collect();
            assert_eq!(found, expected, "{json}");
        }
        let many = serde_json::json!({ "Id": "c1", "HostConfig": { "Dns": vec!["::1"; 1000] } });
        let one: Description = serde_json::from_value(many).unwrap();
        assert_eq!(one.nameservers.len(), MOST_NAMESERVERS);
    }
}
