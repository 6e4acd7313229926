//! `ebpf-netns list`.

use crate::{
    docker::Known,
    links::{LinkedContainer, Listed, State, Store, Target},
    text::printable_up_to,
};
use anyhow::Result;
use serde::Serialize;

use super::{
    args::ListArgs,
    docker,
    output::{Format, note, print, print_json, table},
};

/// How much of a container's name is shown in the table.
const NAME_SHOWN: usize = 24;

#[derive(Serialize)]
struct Row {
    name: String,
    container: Option<Container>,
    pid: Option<i32>,
    target: Target,
    path: String,
    namespace: String,
    state: State,
}

#[derive(Serialize)]
struct Container {
    id: String,
    /// Its name now; `None` if it was removed or Docker cannot be reached.
    name: Option<String>,
    /// Its name when the link was made.
    linked_as: String,
    /// Whether Docker still has it; `None` if Docker cannot be reached.
    exists: Option<bool>,
}

pub(crate) fn run(args: &ListArgs) -> Result<()> {
    let listed = Store::system().list()?;
    let needs_docker = listed.iter().any(|listed| listed.record.container.is_some());
    let known = needs_docker.then(docker::known).transpose().unwrap_or_else(|error| {
        note(&format!("note: container names are those of when they were linked: {error:#}"));
        None
    });
    let rows: Vec<_> = listed.into_iter().map(|listed| row(listed, known.as_deref())).collect();
    match args.output.format {
        Format::Json => print_json(&rows),
        Format::Table => {
            let header = ["NAME", "CONTAINER ID", "CONTAINER", "TARGET", "STATE"];
            print(&table(&header, rows.iter().map(Row::cells).collect()))
        }
    }
}

fn row(listed: Listed, known: Option<&[Known]>) -> Row {
    let Listed { record, state } = listed;
    Row {
        name: record.name.to_string(),
        container: record.container.map(|linked| container(linked, known)),
        pid: record.process.map(|process| process.pid.get()),
        target: record.target,
        path: record.path.to_string_lossy().into_owned(),
        namespace: record.namespace.to_string(),
        state,
    }
}

fn container(linked: LinkedContainer, known: Option<&[Known]>) -> Container {
    let now = known.map(|known| known.iter().find(|known| known.id == linked.id));
    Container {
        name: now.flatten().map(|known| known.name.clone()),
        exists: now.map(|now| now.is_some()),
        id: linked.id,
        linked_as: linked.name,
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let (id, name) = match &self.container {
            Some(container) => {
                let id = container.id.chars().take(12).collect();
                (id, container.shown_name())
            }
            None => ("-".to_owned(), "-".to_owned()),
        };
        vec![self.name.clone(), id, name, self.target.to_string(), self.state.to_string()]
    }
}

impl Container {
    fn shown_name(&self) -> String {
        let linked_as = printable_up_to(&self.linked_as, NAME_SHOWN);
        match (&self.name, self.exists) {
            (Some(name), _) => printable_up_to(name, NAME_SHOWN).to_string(),
            (None, Some(_)) => format!("{linked_as} (removed)"),
            (None, None) => format!("{linked_as} (unknown)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked() -> LinkedContainer {
        LinkedContainer { id: "a".repeat(64), name: "web".to_owned(), sandbox_id: None }
    }

    #[test]
    fn a_container_is_shown_by_its_name_of_now() {
        let known = [Known { id: "a".repeat(64), name: "new\u{1b}[2J".to_owned() }];
        let cases: [(Option<&[Known]>, &str); 3] = [
            (Some(&known), "new\\u{1b}[2J"),
            (Some(&[]), "web (removed)"),
            (None, "web (unknown)"),
        ];
        for (known, expected) in cases {
            assert_eq!(container(linked(), known).shown_name(), expected);
        }
    }
}
