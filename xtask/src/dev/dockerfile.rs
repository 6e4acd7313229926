//! Dockerfile.dev, as far as a container made without it must be the same.
//!
//! Pure: text in, values out.

use anyhow::{Result, ensure};

/// What the image says about containers, and the files of the repository in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// For `docker import --change`, as they stand in the file.
    pub(super) changes: Vec<String>,
    /// Copied files: where in the repository, where in the image.
    pub(super) files: Vec<(String, String)>,
}

/// The package list inside the image, which only the build needs.
const SCRATCH: &str = "/tmp/";

impl Settings {
    pub(super) fn parse(dockerfile: &str) -> Result<Self> {
        let mut settings = Self { changes: Vec::new(), files: Vec::new() };
        for line in dockerfile.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("ENV" | "WORKDIR" | "ENTRYPOINT" | "CMD"), ..) => {
                    ensure!(!line.ends_with('\\'), "put `{line}` into one line");
                    settings.changes.push(line.to_owned());
                }
                (Some("COPY"), Some(from), Some(to))
                    if !from.starts_with("--") && !to.starts_with(SCRATCH) =>
                {
                    settings.files.push((from.to_owned(), to.to_owned()));
                }
                _ => {}
            }
        }
        ensure!(!settings.changes.is_empty(), "the file sets neither ENTRYPOINT nor ENV");
        Ok(settings)
    }
}

/// The packages of a list: one a line, `#` begins a comment.
pub(super) fn packages(list: &str) -> Vec<&str> {
    let lines = list.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::{NEEDS, Need};

    #[test]
    fn settings_are_those_of_the_last_stage_and_its_files() {
        let text = "FROM debian\nCOPY list /tmp/list\nRUN x \\\n    y\nENV A=b\n\
            COPY --from=docker:28-cli /a /b\nCOPY entry.sh /usr/bin/entry\nCMD [\"bash\"]\n";
        let settings = Settings::parse(text).unwrap();
        assert_eq!(settings.changes, ["ENV A=b", "CMD [\"bash\"]"]);
        assert_eq!(settings.files, [("entry.sh".to_owned(), "/usr/bin/entry".to_owned())]);
    }

    #[test]
    fn a_setting_that_goes_on_is_refused() {
        let error = Settings::parse("ENV A=b \\\n    C=d\n").unwrap_err();
        assert!(error.to_string().contains("one line"), "{error}");
    }

    #[test]
    fn comments_are_no_packages() {
        assert_eq!(packages("# Building\n\ngit  # for versions\ncurl\n"), ["git", "curl"]);
    }

    #[test]
    fn the_container_has_every_program_that_the_tests_need() {
        // Of every Debian, however small.
        const ESSENTIAL: [&str; 6] =
            ["bash", "dpkg", "findutils", "init-system-helpers", "libc-bin", "tar"];
        let packages = packages(include_str!("../../../compose/dev-packages.txt"));
        for Need { program, package } in NEEDS {
            let has = packages.contains(package) || ESSENTIAL.contains(package);
            assert!(has, "compose/dev-packages.txt lacks {package}, which has {program}");
        }
    }

    #[test]
    fn the_files_of_this_repository_can_be_read() {
        let settings = Settings::parse(include_str!("../../../Dockerfile.dev")).unwrap();
        assert_eq!(settings.files.len(), 1, "the entry point: {:?}", settings.files);
        let packages = packages(include_str!("../../../compose/dev-packages.txt"));
        let mut sorted = packages.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), packages.len(), "a package stands twice: {packages:?}");
    }
}
