//! The description of a container.

use std::path::PathBuf;

use ebpf_netns::Pid;
use serde::Deserialize;

use super::container::is_alive;

/// What Docker writes for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A container as it was described.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Inspection")]
pub(in crate::docker) struct Description {
    pub(in crate::docker) id: String,
    pub(in crate::docker) alive: bool,
    pub(in crate::docker) sandbox_key: Option<PathBuf>,
    pub(in crate::docker) pid: Option<Pid>,
    pub(in crate::docker) started_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspection {
    id: String,
    state: Option<State>,
    network_settings: Option<NetworkSettings>,
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
    fn from(Inspection { id, state, network_settings }: Inspection) -> Self {
        let State { status, pid, started_at } = state.unwrap_or_default();
        let sandbox_key = network_settings.and_then(|settings| settings.sandbox_key);
        Self {
            id,
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
}
