//! `ebpf-netns unlink`.

use crate::{
    exit,
    links::{LinkName, Listed, Record, Store, Swept, Unlinked},
    text::{printable, printable_up_to},
};
use anyhow::{Context as _, Result};
use serde_json::json;

use super::{
    args::UnlinkArgs,
    docker,
    failure::Failure,
    output::{Format, print, print_json},
};

pub(crate) fn run(args: &UnlinkArgs) -> Result<()> {
    let store = Store::system();
    let results = if args.stale {
        store.sweep()?
    } else {
        let listed = store.list()?;
        let names = match &args.link {
            Some(reference) => meant(reference, &listed, &store)?,
            None => select(&listed, |_| true),
        };
        let unlink = |name| Some(Swept { result: store.unlink(&name).transpose()?, name });
        names.into_iter().filter_map(unlink).collect()
    };
    let (mut done, mut failed) = (Vec::new(), Ok(()));
    for Swept { name, result } in results {
        match result.with_context(|| format!("unlink {name}")) {
            Ok(unlinked) => done.push((name, unlinked)),
            // The others are removed all the same; one error stands for all.
            Err(error) => failed = failed.and(Err(error)),
        }
    }
    show(args.output.format, &done)?;
    failed
}

fn show(format: Format, done: &[(LinkName, Unlinked)]) -> Result<()> {
    match format {
        Format::Json => {
            let done = done.iter().map(|(name, result)| json!({ "name": name, "result": result }));
            print_json(&done.collect::<Vec<_>>())
        }
        Format::Table if done.is_empty() => print("nothing to remove\n"),
        Format::Table => print(&done.iter().map(line).collect::<String>()),
    }
}

fn line((name, unlinked): &(LinkName, Unlinked)) -> String {
    let what = match unlinked {
        Unlinked::Removed => "removed",
        Unlinked::RecordOnly => "was gone already",
        Unlinked::LeftForeign => "left alone: what is there now was not made by ebpf-netns",
    };
    format!("{name} {what}\n")
}

/// The links that `reference` means: the one called so, else those to the container called so.
fn meant(reference: &str, listed: &[Listed], store: &Store) -> Result<Vec<LinkName>> {
    let by_name = select(listed, |listed| listed.record.name.as_str() == reference);
    if !by_name.is_empty() {
        return Ok(by_name);
    }
    let by_container = select(listed, |listed| is_of(&listed.record, reference));
    if !by_container.is_empty() {
        return one_container(reference, listed, by_container);
    }
    // It may have been renamed since; Docker need not be there for anything else.
    if let Ok(container) = docker::resolve(reference) {
        let by_id = select(listed, |listed| is_of(&listed.record, &container.id));
        if !by_id.is_empty() {
            return Ok(by_id);
        }
    }
    let shown = printable_up_to(reference, 60);
    let foreign = reference.parse().is_ok_and(|name| store.path(&name).symlink_metadata().is_ok());
    let message = if foreign {
        format!("{shown} was not made by ebpf-netns: `ip netns del` removes it")
    } else {
        format!("no link is called {shown} or leads to such a container (see `ebpf-netns list`)")
    };
    Err(Failure::new(exit::NOT_FOUND, message).into())
}

/// Whether a link was made for the container of this name, id or beginning of an id.
fn is_of(record: &Record, reference: &str) -> bool {
    let starts_id = |id: &str| !reference.is_empty() && id.starts_with(reference);
    record.container.as_ref().is_some_and(|c| c.name == reference || starts_id(&c.id))
}

fn one_container(
    reference: &str,
    listed: &[Listed],
    names: Vec<LinkName>,
) -> Result<Vec<LinkName>> {
    let ids = listed.iter().filter(|listed| names.contains(&listed.record.name));
    let mut ids: Vec<_> = ids.filter_map(|l| l.record.container.as_ref().map(|c| &c.id)).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > 1 {
        let names: Vec<_> = names.iter().map(LinkName::as_str).collect();
        let message = format!(
            "{} may be any of several containers; give the name of a link: {}",
            printable(reference),
            names.join(", ")
        );
        return Err(Failure::new(exit::NOT_FOUND, message).into());
    }
    Ok(names)
}

fn select(listed: &[Listed], wanted: impl Fn(&Listed) -> bool) -> Vec<LinkName> {
    let wanted = listed.iter().filter(|listed| wanted(listed));
    wanted.map(|listed| listed.record.name.clone()).collect()
}
