//! Cargo.lock, as far as it decides which packages the kernel programs are compiled from.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use toml::Table;

/// The locked packages.
#[derive(Debug, Deserialize)]
pub(super) struct Lock {
    package: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

impl Lock {
    pub(super) fn parse(table: &Table) -> Result<Self> {
        table.clone().try_into().context("read Cargo.lock")
    }

    /// Every package that `crates` need, with its checksum. The lock has each crate's optional and
    /// test dependencies too, so for the crates of the repository the caller names those that count.
    pub(super) fn closure(
        &self,
        crates: &BTreeMap<&str, BTreeSet<String>>,
    ) -> Result<BTreeMap<String, String>> {
        let mut open: Vec<&str> = crates.values().flatten().map(String::as_str).collect();
        let mut seen = BTreeSet::new();
        let mut packages = BTreeMap::new();
        while let Some(wanted) = open.pop() {
            if !seen.insert(wanted) || crates.contains_key(wanted) {
                continue;
            }
            let package = self.find(wanted)?;
            let Package { name, version, checksum, dependencies } = package;
            let checksum = checksum.clone().unwrap_or_default();
            packages.insert(format!("{name} {version}"), checksum);
            open.extend(dependencies.iter().map(String::as_str));
        }
        Ok(packages)
    }

    /// The package that a dependency means: `name`, or `name version` where several are locked.
    fn find(&self, wanted: &str) -> Result<&Package> {
        let mut words = wanted.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        let is = |package: &&Package| {
            package.name == name && version.is_none_or(|version| package.version == version)
        };
        let found = self.package.iter().find(is);
        found.with_context(|| format!("Cargo.lock has no package `{wanted}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
        [[package]]
        name = "ours"
        version = "0.1.0"
        dependencies = ["aya", "common"]
        [[package]]
        name = "common"
        version = "0.1.0"
        [[package]]
        name = "aya"
        version = "1.0.0"
        checksum = "aa"
        dependencies = ["syn 2.0.0"]
        [[package]]
        name = "syn"
        version = "1.0.0"
        checksum = "s1"
        [[package]]
        name = "syn"
        version = "2.0.0"
        checksum = "s2"
        dependencies = ["aya"]
    "#;

    fn crates(dependencies: &[&str]) -> BTreeMap<&'static str, BTreeSet<String>> {
        let ours = dependencies.iter().map(|name| (*name).to_owned()).collect();
        BTreeMap::from([("ours", ours), ("common", BTreeSet::new())])
    }

    #[test]
    fn the_closure_has_the_version_that_is_meant() {
        let lock = Lock::parse(&LOCK.parse().unwrap()).unwrap();
        let packages = lock.closure(&crates(&["aya", "common"])).unwrap();
        let found: Vec<_> = packages.iter().map(|(n, c)| (n.as_str(), c.as_str())).collect();
        assert_eq!(found, [("aya 1.0.0", "aa"), ("syn 2.0.0", "s2")]);
    }

    #[test]
    fn a_dependency_that_is_not_locked_is_an_error_with_its_name() {
        let lock = Lock::parse(&LOCK.parse().unwrap()).unwrap();
        let error = lock.closure(&crates(&["bollard"])).unwrap_err();
        assert!(error.to_string().contains("bollard"), "{error}");
    }
}
