//! Kernels by name: what was asked for, and which of Debian's that is. Pure.

use std::{fmt, str::FromStr};

use anyhow::{Context as _, Error, Result};

const PREFIX: &str = "linux-image-";
/// Small, and boots in a virtual machine without a driver from a disk.
const FLAVOUR: &str = "-cloud-amd64";

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The newest of a version: major and minor.
    Version(u32, u32),
    /// The newest that there is.
    Newest,
}

impl FromStr for Wanted {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "newest" {
            return Ok(Self::Newest);
        }
        let parsed = text.split_once('.').and_then(|(major, minor)| {
            Some(Self::Version(major.parse().ok()?, minor.parse().ok()?))
        });
        parsed.with_context(|| format!("{text:?} is neither MAJOR.MINOR nor `newest`"))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(major, minor) => write!(f, "{major}.{minor}"),
            Self::Newest => f.write_str("newest"),
        }
    }
}

/// A kernel as `uname -r` prints it, for example `6.1.0-50-cloud-amd64`. Ordered by age.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release {
    numbers: Vec<u32>,
    name: String,
}

impl Release {
    /// The kernel in a package; none in another package, such as `linux-image-6.1-cloud-amd64`,
    /// which only leads to one.
    pub(super) fn of_package(package: &str) -> Option<Self> {
        let name = package.strip_prefix(PREFIX)?;
        let version = name.strip_suffix(FLAVOUR)?;
        let numbers: Vec<u32> = version
            .split(|character: char| !character.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        let starts_with_a_digit = version.starts_with(|first: char| first.is_ascii_digit());
        (starts_with_a_digit && numbers.len() > 2).then(|| Self { numbers, name: name.to_owned() })
    }

    /// The packages that may have it: the first, or in newer releases of Debian all together.
    pub(super) fn packages(&self) -> [String; 4] {
        [PREFIX, "linux-base-", "linux-binary-", "linux-modules-"]
            .map(|prefix| format!("{prefix}{}", self.name))
    }

    /// The version, such as 6.1.
    pub(super) fn version(&self) -> Wanted {
        match self.numbers.as_slice() {
            [major, minor, ..] => Wanted::Version(*major, *minor),
            _ => Wanted::Newest,
        }
    }

    /// Whether it is this version or a later one.
    pub(super) fn is_since(&self, major: u32, minor: u32) -> bool {
        self.numbers.as_slice() >= [major, minor].as_slice()
    }

    fn is(&self, wanted: Wanted) -> bool {
        wanted == Wanted::Newest || self.version() == wanted
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The newest of what is wanted, among packages of these names.
pub(super) fn choose<'a>(
    packages: impl Iterator<Item = &'a str>,
    wanted: Wanted,
) -> Option<Release> {
    packages.filter_map(Release::of_package).filter(|release| release.is(wanted)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_version_is_chosen() {
        let packages = [
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1.0-51-amd64",
            "linux-image-6.12.107+deb13-cloud-amd64",
            "linux-image-6.12.95+deb12-cloud-amd64",
            "linux-image-6.12.108+deb13-cloud-amd64-unsigned",
            "linux-image-cloud-amd64",
        ];
        let check = |wanted: &str, expected: Option<&str>| {
            let chosen = choose(packages.into_iter(), wanted.parse().unwrap());
            let chosen = chosen.map(|release| release.to_string());
            assert_eq!(chosen.as_deref(), expected, "{wanted}");
        };
        check("6.1", Some("6.1.0-50-cloud-amd64"));
        check("6.12", Some("6.12.107+deb13-cloud-amd64"));
        check("newest", Some("6.12.107+deb13-cloud-amd64"));
        check("5.10", None);
    }

    #[test]
    fn versions_are_in_order() {
        let check = |package: &str, since: bool| {
            let release = Release::of_package(package).unwrap();
            assert_eq!(release.is_since(5, 18), since, "{package}");
        };
        check("linux-image-5.10.0-33-cloud-amd64", false);
        check("linux-image-5.18.0-1-cloud-amd64", true);
        check("linux-image-6.1.0-50-cloud-amd64", true);
    }

    #[test]
    fn a_version_is_two_numbers() {
        for wrong in ["6", "6.1.2", "6.x", "", "latest"] {
            assert!(wrong.parse::<Wanted>().is_err(), "{wrong:?} is no version");
        }
    }
}
