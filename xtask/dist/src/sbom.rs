//! The bill of materials: every package that is compiled into the programs, as `CycloneDX`
//! has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use cargo_metadata::{
    CargoOpt, DependencyKind, Metadata, MetadataCommand, Node, Package, PackageId, TargetKind,
};
use serde_json::{Value, json};

use crate::epoch::Epoch;
use crate::machine::Machine;
use crate::release::VERSION;

/// The packages whose programs are released.
const ROOTS: [&str; 2] = ["ebpf-netns", "ebpf-netns-plugin"];

/// The bill for a machine, as JSON.
pub(crate) fn bill(root: &Path, machine: Machine, epoch: Epoch) -> Result<Vec<u8>> {
    let metadata = metadata(root, machine)?;
    let linked = linked(&metadata)?;
    let sums = checksums(root)?;
    let components: Vec<_> =
        linked.packages.iter().map(|package| component(package, &sums)).collect();
    let dependencies: Vec<_> = linked
        .needs
        .iter()
        .map(|(package, needs)| json!({ "ref": package, "dependsOn": needs }))
        .collect();
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": epoch.rfc3339(),
            "component": {
                "type": "application",
                "bom-ref": format!("ebpf-netns-{VERSION}-{machine}"),
                "name": "ebpf-netns",
                "version": VERSION,
                "licenses": [{ "expression": env!("CARGO_PKG_LICENSE") }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    let mut text = serde_json::to_vec_pretty(&bill).context("write JSON")?;
    text.push(b'\n');
    Ok(text)
}

/// What cargo knows of the workspace, for this machine.
fn metadata(root: &Path, machine: Machine) -> Result<Metadata> {
    MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .features(CargoOpt::SomeFeatures(Vec::new()))
        .other_options(vec![
            "--locked".to_owned(),
            "--filter-platform".to_owned(),
            machine.target().to_owned(),
        ])
        .exec()
        .context("ask cargo for the packages of the workspace")
}

/// Packages in the order of their names, and what each needs directly.
struct Linked<'a> {
    packages: Vec<&'a Package>,
    needs: BTreeMap<String, BTreeSet<String>>,
}

/// The packages that end up in the programs: not those that only build or test them.
fn linked(metadata: &Metadata) -> Result<Linked<'_>> {
    let packages: BTreeMap<&PackageId, &Package> =
        metadata.packages.iter().map(|package| (&package.id, package)).collect();
    let resolved = metadata.resolve.as_ref().context("cargo resolved nothing")?;
    let nodes: BTreeMap<&PackageId, &Node> =
        resolved.nodes.iter().map(|node| (&node.id, node)).collect();
    let is_root = |package: &&&Package| ROOTS.contains(&package.name.as_str());
    let mut todo: Vec<_> = packages.values().filter(is_root).map(|package| &package.id).collect();
    let (mut seen, mut needs) = (BTreeMap::new(), BTreeMap::new());
    while let Some(id) = todo.pop() {
        let package = packages.get(id).with_context(|| format!("cargo does not know {id}"))?;
        if runs_in_the_compiler(package) || seen.insert(id, *package).is_some() {
            continue;
        }
        let node = nodes.get(id).with_context(|| format!("cargo did not resolve {id}"))?;
        let mut direct = BTreeSet::new();
        for needed in node.deps.iter().filter(|needed| is_linked(needed)) {
            let package = packages.get(&needed.pkg).context("cargo knows what it resolved")?;
            if !runs_in_the_compiler(package) {
                direct.insert(reference(package));
                todo.push(&needed.pkg);
            }
        }
        needs.insert(reference(package), direct);
    }
    let mut packages: Vec<_> = seen.into_values().collect();
    packages.sort_by_key(|package| reference(package));
    Ok(Linked { packages, needs })
}

fn is_linked(needed: &cargo_metadata::NodeDep) -> bool {
    needed.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
}

fn runs_in_the_compiler(package: &Package) -> bool {
    package.targets.iter().any(|target| target.kind.contains(&TargetKind::ProcMacro))
}

/// The package's address, which is what it is known by everywhere.
fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn component(package: &Package, sums: &BTreeMap<(String, String), String>) -> Value {
    let version = package.version.to_string();
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(package),
        "name": package.name,
        "version": version,
        "purl": reference(package),
    });
    let mut set = |key: &str, value: Option<Value>| {
        if let (Some(fields), Some(value)) = (component.as_object_mut(), value) {
            fields.insert(key.to_owned(), value);
        }
    };
    // Some packages still use the form that was usual before expressions of SPDX were.
    let licence = package.license.as_ref().map(|licence| licence.replace('/', " OR "));
    set("licenses", licence.map(|licence| json!([{ "expression": licence }])));
    let sum = sums.get(&(package.name.to_string(), version));
    set("hashes", sum.map(|sum| json!([{ "alg": "SHA-256", "content": sum }])));
    let source = package.repository.as_ref();
    set("externalReferences", source.map(|url| json!([{ "type": "vcs", "url": url }])));
    component
}

/// The checksums that the lock file has, by name and version.
fn checksums(root: &Path) -> Result<BTreeMap<(String, String), String>> {
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("read Cargo.lock")?;
    let mut sums = BTreeMap::new();
    for entry in lock.split("[[package]]") {
        let value = |key: &str| {
            let line = entry.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            line.map(|text| text.trim_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(sum)) =
            (value("name"), value("version"), value("checksum"))
        {
            sums.insert((name, version), sum);
        }
    }
    Ok(sums)
}
