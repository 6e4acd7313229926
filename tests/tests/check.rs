//! `check` as people and CI run it: without Docker, without root, with exit codes.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{
    binaries::{self, Binary},
    command::output_of,
};
use serde_json::Value;
use tempfile::TempDir;

/// The exit code for what is not understood.
const BAD_DATA: i32 = 65;

const GOOD: &str = "\
services:
  web:
    labels:
      tc.egress: |
        allow dns
        allow tcp 5432 to container:db
  db:
    labels: [tc.policy=$WHICH]
  other: {}
";

struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(Self(directory))
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binaries::path(Binary::Plugin)?);
        command.arg("check").args(arguments).current_dir(self.0.path());
        Ok(command)
    }

    fn check(&self, arguments: &[&str]) -> Result<Output> {
        output_of(&mut self.command(arguments)?)
    }

    /// It is understood; what it says.
    fn understood(&self, arguments: &[&str]) -> Result<String> {
        let output = self.check(arguments)?;
        ensure!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// It is refused; what it says.
    fn refused(&self, arguments: &[&str]) -> Result<String> {
        let output = self.check(arguments)?;
        ensure!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
        ensure!(output.status.code() == Some(BAD_DATA), "{arguments:?}: {output:?}");
        Ok(String::from_utf8(output.stderr)?)
    }

    /// What comes of it with a text on standard input.
    fn fed_with(&self, arguments: &[&str], text: &str) -> Result<Output> {
        let mut command = self.command(arguments)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().context("standard input")?.write_all(text.as_bytes())?;
        Ok(child.wait_with_output()?)
    }
}

#[test]
fn a_compose_file_is_checked_as_ci_does() -> Result<()> {
    let fixed = GOOD.replace("$WHICH", "drop-udp");
    let files = Files::new(&[("compose.yaml", GOOD), ("fixed.yaml", &fixed)])?;
    let said = files.refused(&["compose.yaml"])?;
    let expected = "ebpf-netns-plugin: compose.yaml:8:14: service db, tc.policy: has a variable";
    assert!(said.starts_with(expected), "{said}");
    assert!(said.ends_with("\n        labels: [tc.policy=$WHICH]\n                 ^\n"), "{said}");

    let said = files.understood(&["fixed.yaml"])?;
    assert_eq!(files.understood(&["--compose", "fixed.yaml"])?, said);
    let lines: Vec<&str> = said.lines().collect();
    let [web, db, hint] = lines.as_slice() else { anyhow::bail!("three lines: {said}") };
    assert_eq!(*web, "web: TC, egress rules: { allow dns; allow tcp 5432 to container:db }");
    assert_eq!(*db, "db: TC, egress and ingress: drop-udp");
    assert!(hint.starts_with("hint: fixed.yaml:6:9: service web, tc.egress: "), "{hint}");
    assert!(hint.contains("no container is called db: that of service db"), "{hint}");
    Ok(())
}

#[test]
fn several_compose_files_are_one_project_and_one_of_them_may_be_standard_input() -> Result<()> {
    let over = "services: {db: {labels: {tc.policy: log}}}\n";
    let good = GOOD.replace("$WHICH", "pass");
    let files = Files::new(&[("a.yaml", &good), ("b.yaml", over)])?;
    let said = files.understood(&["--compose", "a.yaml", "--compose", "b.yaml"])?;
    assert!(said.contains("db: TC, egress and ingress: log\n"), "{said}");
    let output = files.fed_with(&["--compose", "b.yaml", "--compose", "-"], &good)?;
    assert!(String::from_utf8(output.stdout)?.contains("db: TC, egress and ingress: pass\n"));
    let output = files.fed_with(&["-"], GOOD)?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(BAD_DATA), "{said}");
    assert!(said.starts_with("ebpf-netns-plugin: standard input:8:14: service db"), "{said}");
    Ok(())
}

#[test]
fn json_has_meanings_hints_and_problems_one_by_one() -> Result<()> {
    let good = GOOD.replace("$WHICH", "pass");
    let files = Files::new(&[("good.yaml", &good), ("bad.yaml", GOOD), ("x.rules", "alow\n")])?;
    let json = |text: String| serde_json::from_str::<Value>(&text).context(text);
    let good = json(files.understood(&["good.yaml", "--format", "json"])?)?;
    let at = |value: &Value, path: &str| value.pointer(path).cloned().unwrap_or_default();
    assert_eq!(at(&good, "/services/1/service"), "db");
    assert_eq!(at(&good, "/services/1/policy"), "TC, egress and ingress: pass");
    assert_eq!(at(&good, "/hints/0/line"), 6);
    for (file, line, column, key) in
        [("bad.yaml", 8, 14, Value::from("tc.policy")), ("x.rules", 1, 1, Value::Null)]
    {
        let bad = json(files.refused(&[file, "--format", "json"])?)?;
        assert!(at(&bad, "/error").is_string(), "{bad}");
        assert_eq!(at(&bad, "/problems/0/file"), file);
        assert_eq!(at(&bad, "/problems/0/line"), line, "{bad}");
        assert_eq!(at(&bad, "/problems/0/column"), column, "{bad}");
        assert_eq!(at(&bad, "/problems/0/key"), key, "{bad}");
    }
    Ok(())
}

#[test]
fn policies_configurations_and_rules_are_known_by_name_or_text() -> Result<()> {
    let files = Files::new(&[
        ("policies/web.toml", "egress = \"\"\"\nallow\ndeny tcp 22\n\"\"\"\n"),
        ("policies/Web.toml", "policy = 'log'\n"),
        ("good.toml", "strict = true\n[default]\ntc.policy = 'web2'\n"),
        ("in.rules", "allow tcp 80 from lan\n"),
        ("bad.rules", "allow tcp 80 from lan\nallow tcp 0443 from lan\n"),
    ])?;
    let said = files.understood(&["policies/web.toml"])?;
    assert!(said.starts_with("egress rules: { allow; deny tcp 22 }\nhint: "), "{said}");
    assert!(said.contains("deny tcp 22 never decides"), "{said}");
    let said = files.refused(&["policies/Web.toml"])?;
    assert!(said.contains("policies/Web.toml: expected a name of lower-case letters"), "{said}");
    let said = files.refused(&["good.toml"])?;
    assert!(said.contains("[default] tc.policy: "), "{said}");
    assert_eq!(files.understood(&["in.rules"])?, "ingress rules: { allow tcp 80 from lan }\n");
    let said = files.refused(&["bad.rules"])?;
    let expected = "ebpf-netns-plugin: bad.rules:2:11: found \"0443\", expected a port";
    assert!(said.starts_with(expected), "{said}");
    assert!(said.ends_with("\n    allow tcp 0443 from lan\n              ^\n"), "{said}");
    let output = files.fed_with(&["-"], "[default]\ntc.policy = 'log'\n")?;
    assert!(output.status.success(), "{output:?}");
    Ok(())
}

#[test]
fn labels_have_hints_and_fit() -> Result<()> {
    let files = Files::new(&[])?;
    let said = files.understood(&["--label", "tc.egress=allow\ndeny 22"])?;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "TC, egress rules: { allow; deny 22 }",
            "hint: label tc.egress, line 2: deny 22 is about protocol 22; for the port, write \
             deny tcp 22",
            "hint: label tc.egress, line 2: deny 22 never decides: allow in line 1 matches the \
             same before it",
        ]
    );
    let ports: Vec<String> = (1..=70).map(|port| (port * 2).to_string()).collect();
    let hosts: Vec<String> = (1..=4).map(|host| format!("10.0.0.{}", host * 2)).collect();
    let rule = format!("allow tcp {} to {}\n", ports.join(","), hosts.join(",")).repeat(4);
    let said = files.refused(&["--label", &format!("tc.egress={rule}")])?;
    assert!(said.contains("the rules become 1120 entries"), "{said}");
    Ok(())
}

#[test]
fn what_cannot_be_read_and_what_is_no_usage_are_told_apart() -> Result<()> {
    let files = Files::new(&[("big.yaml", &"#".repeat(1024 * 1024 + 1))])?;
    assert!(files.refused(&["big.yaml"])?.contains("big.yaml: is larger than 1048576 bytes"));
    let output = files.check(&["gone.yaml"])?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("read gone.yaml: No such file"), "{said}");
    for arguments in [
        &["big.yaml", "--label", "tc.policy=log"][..],
        &["big.yaml", "--compose", "big.yaml"],
        &["--label", "tc.policy=log", "--compose", "big.yaml"],
        &[],
    ] {
        let output = files.check(arguments)?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
    Ok(())
}
