//! `ebpf-netns link`.

use crate::{
    docker::Container,
    exit,
    links::{LinkName, LinkedContainer, Made, Request, Store, Target},
    text::printable,
};
use anyhow::{Context as _, Result};
use serde_json::json;

use super::{
    args::LinkArgs,
    failure::Failure,
    output::{Format, print, print_json},
    subject::Subject,
};

pub(crate) fn run(args: LinkArgs) -> Result<()> {
    let subject = Subject::open(&args.subject)?;
    let name = args.name.or_else(|| default_name(&subject)).ok_or_else(|| {
        Failure::new(exit::USAGE, "there is no name to make up for it: give one with --name")
    })?;
    let target = Target::from(args.target);
    let store = Store::system();
    let request = Request {
        name: name.clone(),
        target,
        namespace: &subject.namespace,
        container: subject.container.as_ref().map(linked),
        process: subject.process.as_ref(),
        sandbox_key: subject.container.as_ref().and_then(|c| c.sandbox_key.as_deref()),
    };
    let made = store.link(request).with_context(|| format!("link {}", subject.describe()))?;
    let path = store.path(&name);
    match args.output.format {
        Format::Json => {
            print_json(&json!({ "name": name, "path": path, "target": target, "result": made }))
        }
        Format::Table => {
            let what = match made {
                Made::Created => "created",
                Made::Replaced => "replaced",
                Made::Unchanged => "was there already",
            };
            let name = printable(name.as_str());
            print(&format!("{} {what}; try: ip netns exec {name} ip addr\n", path.display()))
        }
    }
}

fn default_name(subject: &Subject) -> Option<LinkName> {
    match (&subject.container, &subject.process) {
        (Some(container), _) => LinkName::for_container(&container.name, container.short_id()),
        (None, Some(process)) => format!("pid-{}", process.pid()).parse().ok(),
        (None, None) => None,
    }
}

fn linked(container: &Container) -> LinkedContainer {
    LinkedContainer {
        id: container.id.clone(),
        name: container.name.clone(),
        sandbox_id: container.sandbox_id.clone(),
    }
}
