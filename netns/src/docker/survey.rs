//! An engine at a glance, for who wants to know whether its containers can be policed: its version,
//! its networks, and how its running containers are connected. No container is inspected, so that one
//! that is just starting keeps nobody waiting.

use std::{collections::BTreeMap, path::PathBuf};

use bollard::{
    models::{ContainerSummary, Network, SystemInfo, SystemVersion},
    query_parameters::ListContainersOptionsBuilder,
};

use super::{Docker, DockerError, Known, NetworkMode};

/// What Docker writes into the options of a network whose bridge has a name of its own.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
/// How much of a network's id is in the name of a bridge that nobody named.
const BRIDGE_ID: usize = 12;

/// An engine at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Its version.
    pub version: String,
    /// The newest version of its API.
    pub api: String,
    /// The system that it says it runs on.
    pub system: String,
    /// Whether it runs without root: in a network namespace of its own, then.
    pub rootless: bool,
    /// What it filters packets with; versions that have no choice do not tell.
    pub firewall: Option<String>,
    /// Its OCI runtimes, each with its program as far as it tells.
    pub runtimes: BTreeMap<String, Option<PathBuf>>,
    /// The runtime of containers that ask for none.
    pub default_runtime: Option<String>,
    /// Its networks, in the order of their names.
    pub networks: Vec<SurveyedNetwork>,
    /// The containers that run, in the order of their names.
    pub containers: Vec<SurveyedContainer>,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SurveyedNetwork {
    /// Its name.
    pub name: String,
    /// Its driver: `bridge`, `macvlan`, …
    pub driver: String,
    /// The bridge on the engine's machine, where it has one.
    pub bridge: Option<String>,
}

/// A container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyedContainer {
    /// The full id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Which network namespace it was told to use.
    pub mode: NetworkMode,
    /// The names of the networks that it is on.
    pub networks: Vec<String>,
    /// The keys of its labels.
    pub labels: Vec<String>,
}

impl Docker {
    /// Looks at the engine as a whole.
    ///
    /// # Errors
    ///
    /// When it gives no answer.
    pub async fn survey(&self) -> Result<Survey, DockerError> {
        let client = self.client();
        let version = client.version().await.map_err(|e| self.failed("tell its version", e))?;
        let info = client.info().await.map_err(|e| self.failed("describe itself", e))?;
        let networks = client.list_networks(None).await;
        let networks = networks.map_err(|e| self.failed("list networks", e))?;
        let running = ListContainersOptionsBuilder::new().build();
        let containers = client.list_containers(Some(running)).await;
        let containers = containers.map_err(|e| self.failed("list containers", e))?;
        Ok(survey(version, info, networks, containers))
    }
}

fn survey(
    version: SystemVersion,
    info: SystemInfo,
    networks: Vec<Network>,
    containers: Vec<ContainerSummary>,
) -> Survey {
    let options = info.security_options.unwrap_or_default();
    let mut networks: Vec<_> = networks.into_iter().map(network).collect();
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    let mut containers: Vec<_> = containers.into_iter().filter_map(container).collect();
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    let runtimes = info.runtimes.unwrap_or_default().into_iter();
    Survey {
        version: version.version.unwrap_or_default(),
        api: version.api_version.unwrap_or_default(),
        system: info.operating_system.unwrap_or_default(),
        rootless: options.iter().any(|option| option == "name=rootless"),
        firewall: info.firewall_backend.and_then(|backend| backend.driver),
        runtimes: runtimes.map(|(name, its)| (name, its.path.map(PathBuf::from))).collect(),
        default_runtime: info.default_runtime,
        networks,
        containers,
    }
}

fn network(network: Network) -> SurveyedNetwork {
    let driver = network.driver.unwrap_or_default();
    let named = network.options.and_then(|mut options| options.remove(BRIDGE_NAME));
    let named = named.filter(|name| !name.is_empty());
    let by_id = || Some(format!("br-{}", network.id?.get(..BRIDGE_ID)?));
    let bridge = if driver == "bridge" { named.or_else(by_id) } else { None };
    SurveyedNetwork { name: network.name.unwrap_or_default(), driver, bridge }
}

fn container(summary: ContainerSummary) -> Option<SurveyedContainer> {
    let Known { id, name } = Known::new(summary.id?, &summary.names.unwrap_or_default())?;
    let mode = summary.host_config.and_then(|config| config.network_mode).unwrap_or_default();
    let networks = summary.network_settings.and_then(|settings| settings.networks);
    let mut networks: Vec<String> = networks.unwrap_or_default().into_keys().collect();
    networks.sort();
    let mut labels: Vec<String> = summary.labels.unwrap_or_default().into_keys().collect();
    labels.sort();
    Some(SurveyedContainer { id, name, mode: NetworkMode::from(mode.as_str()), networks, labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: serde::de::DeserializeOwned>(json: &str) -> T {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_engine_is_read_whole() {
        let id = "0123456789abcdef".repeat(4);
        let seen = survey(
            read(r#"{"Version":"29.1.0","ApiVersion":"1.52"}"#),
            read(
                r#"{"OperatingSystem":"Debian GNU/Linux 12","DefaultRuntime":"runc",
                "SecurityOptions":["name=seccomp,profile=builtin","name=rootless"],
                "FirewallBackend":{"Driver":"nftables"},
                "Runtimes":{"runc":{"path":"runc"},"ebpf-netns":{"path":"/usr/bin/ebpf-netns-runtime"}}}"#,
            ),
            read(&format!(
                r#"[{{"Name":"lan","Id":"{id}","Driver":"bridge","Options":{{}}}},
                {{"Name":"bridge","Id":"{id}","Driver":"bridge",
                  "Options":{{"com.docker.network.bridge.name":"docker0"}}}},
                {{"Name":"outside","Id":"{id}","Driver":"macvlan"}}]"#
            )),
            read(&format!(
                r#"[{{"Id":"{id}","Names":["/web"],"Labels":{{"tc.policy":"drop-icmp"}},
                "HostConfig":{{"NetworkMode":"lan"}},"NetworkSettings":{{"Networks":{{"lan":{{}}}}}}}},
                {{"Id":"{id}","Names":["/agent"],"HostConfig":{{"NetworkMode":"host"}}}}]"#
            )),
        );
        assert_eq!((seen.version.as_str(), seen.api.as_str()), ("29.1.0", "1.52"));
        assert!(seen.rootless);
        assert_eq!(seen.firewall.as_deref(), Some("nftables"));
        let program = PathBuf::from("/usr/bin/ebpf-netns-runtime");
        assert_eq!(seen.runtimes.get("ebpf-netns"), Some(&Some(program)));
        let bridges: Vec<_> = seen.networks.iter().map(|one| one.bridge.as_deref()).collect();
        assert_eq!(bridges, [Some("docker0"), Some("br-0123456789ab"), None]);
        let [agent, web] = seen.containers.as_slice() else { panic!("{:?}", seen.containers) };
        assert_eq!(agent.mode, NetworkMode::Host);
        assert_eq!(
            (web.networks.as_slice(), web.labels.as_slice()),
            (&["lan".to_owned()][..], &["tc.policy".to_owned()][..])
        );
    }

    #[test]
    fn an_engine_that_tells_little_is_no_error() {
        let seen = survey(read("{}"), read("{}"), Vec::new(), vec![read("{}")]);
        assert_eq!(seen, Survey::default());
    }
}
