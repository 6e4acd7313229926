//! Names in rules that nobody in the files has. Pure.

use super::project::{Network, Project, Service};
use crate::labels::nearest;
use crate::rules::{Action, Name, Rule, Target};

/// Networks that every engine has.
const OF_DOCKER: [&str; 3] = ["bridge", "host", "none"];

/// A sentence for each name in a rule that nobody in the files has.
pub(super) fn unknown(project: &Project, rule: &Rule) -> Vec<String> {
    let consequence = match rule.action {
        Action::Allow => "allows nobody by it",
        Action::Deny => "denies nobody by it",
    };
    let sentences = rule.targets.iter().filter_map(|target| match target {
        Target::Container(name) => container(project, name),
        Target::Service(name) => service(project, name),
        Target::Network(name) => network(project, name),
        _ => None,
    });
    sentences.map(|what| format!("{what}; until there is one, the rule {consequence}")).collect()
}

fn container(project: &Project, name: &Name) -> Option<String> {
    let name = name.as_str();
    let has_it = |service: &Service| service.container_name.as_deref() == Some(name);
    let is_of = |service: &str| {
        let Some((before, number)) = name.rsplit_once('-') else { return false };
        let project_name = before.strip_suffix(service).and_then(|rest| rest.strip_suffix('-'));
        number.parse::<u32>().is_ok()
            && project_name.is_some_and(|found| {
                project.name.as_deref().map_or(!found.is_empty(), |name| name == found)
            })
    };
    if project
        .services
        .iter()
        .any(|(key, service)| has_it(service) || (service.container_name.is_none() && is_of(key)))
    {
        return None;
    }
    let service = project.services.iter().find(|(key, _)| key == name);
    if let Some((_, service)) = service {
        let called = match (&service.container_name, &project.name) {
            (Some(called), _) => called.clone(),
            (None, Some(project)) => format!("{project}-{name}-1"),
            (None, None) => format!("PROJECT-{name}-1"),
        };
        return Some(format!(
            "no container is called {name}: that of service {name} is called {called}; write \
             service:{name}, or give the service container_name: {name}"
        ));
    }
    let names =
        project.services.iter().filter_map(|(_, service)| service.container_name.as_deref());
    Some(format!("no container of these files is called {name}{}", meant("container", name, names)))
}

fn service(project: &Project, name: &Name) -> Option<String> {
    let name = name.as_str();
    let mut names = project.services.iter().map(|(name, _)| name.as_str());
    if names.clone().any(|known| known == name) {
        return None;
    }
    let meant = meant("service", name, names.by_ref());
    Some(format!("these files have no service {name}{meant}"))
}

fn network(project: &Project, name: &Name) -> Option<String> {
    let name = name.as_str();
    // What a rule can call it: Docker's name for it, or the project's own.
    let names = project
        .networks
        .iter()
        .map(|(key, Network { name, external: _, .. })| name.as_deref().unwrap_or(key));
    let known = ["default"].into_iter().chain(OF_DOCKER).chain(names);
    if known.clone().any(|known| known == name) {
        return None;
    }
    if let Some(Network { name: Some(called), .. }) = project.networks.get(name) {
        return Some(format!(
            "Docker has no network {name}: that of these files is called {called}; write \
             network:{called}"
        ));
    }
    Some(format!("these files have no network {name}{}", meant("network", name, known)))
}

fn meant<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(name, known).map_or(String::new(), |known| format!(", did you mean {kind}:{known}?"))
}
