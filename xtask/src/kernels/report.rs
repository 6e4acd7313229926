//! What a guest says of its checks, read line by line. Pure.

/// Begins a check; its name follows.
pub(super) const BEGIN: &str = "==> check:";
/// Ends it; its exit status follows.
pub(super) const END: &str = "==> status:";
/// What the tests say of TCX.
const TCX: &str = "TCX: ";

/// A check that ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) name: String,
    pub(super) passed: bool,
    /// The end of what it printed.
    pub(super) output: String,
}

/// A guest's report, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Report {
    ended: Vec<Checked>,
    running: Option<(String, String)>,
}

impl Report {
    /// Takes a line; returns the check that it ends.
    pub(super) fn line(&mut self, line: &str) -> Option<&Checked> {
        if let Some(name) = line.strip_prefix(BEGIN) {
            self.running = Some((name.trim().to_owned(), String::new()));
        } else if let Some(status) = line.strip_prefix(END) {
            let (name, output) = self.running.take()?;
            let output = output.trim().to_owned();
            self.ended.push(Checked { name, passed: status.trim() == "0", output });
            return self.ended.last();
        } else if let Some((_, output)) = &mut self.running {
            output.push_str(line);
            output.push('\n');
        }
        None
    }

    /// Whether a check ended well.
    pub(super) fn passed(&self, name: &str) -> bool {
        self.ended.iter().any(|check| check.name == name && check.passed)
    }

    /// Whether no check ended.
    pub(super) fn is_empty(&self) -> bool {
        self.ended.is_empty()
    }

    /// The check that began and did not end.
    pub(super) fn running(&self) -> Option<&str> {
        self.running.as_ref().map(|(name, _)| name.as_str())
    }

    /// What TCX did, in a word.
    pub(super) fn tcx(&self) -> Option<&str> {
        let mut lines = self.ended.iter().flat_map(|check| check.output.lines());
        // The test program writes the test's name before what the test prints.
        let said = lines.find_map(|line| Some(line.split_once(TCX)?.1))?;
        said.split(':').next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report of these lines; `>` begins a check and `<` ends it.
    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        for line in lines {
            report.line(&line.replace('>', BEGIN).replace('<', END));
        }
        report
    }

    #[test]
    fn a_check_passes_with_status_0_alone() {
        let report = report(&["> a", "x", "< 0", "> b", "y", "z", "< 101", "> c", "half"]);
        assert!(report.passed("a"), "status 0");
        assert!(!report.passed("b"), "status 101");
        assert!(!report.passed("c"), "it did not end");
        assert!(!report.passed("d"), "it did not begin");
        assert_eq!(report.running(), Some("c"));
        assert_eq!(report.ended.last().map(|check| check.output.as_str()), Some("y\nz"));
    }

    #[test]
    fn what_tcx_did_is_found_in_the_output() {
        let refused = ["> a", "test a ... TCX: refused: attach TCX on host0: no", "ok", "< 0"];
        assert_eq!(report(&refused).tcx(), Some("refused"));
        assert_eq!(report(&["> a", "TCX: attached", "< 0"]).tcx(), Some("attached"));
        assert_eq!(report(&["> a", "ok", "< 0"]).tcx(), None);
    }
}
