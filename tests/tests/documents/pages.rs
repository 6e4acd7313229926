//! The pages, each read from its beginning to its end, and what each takes for granted.

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{binaries, documents, privilege};

use crate::machine::Reader;

const DAEMON: &str = "ebpf-netns run";
const WEB: &str = "docker run -d --name web --label tc.egress='allow dns; allow tcp 443' nginx";

/// The directory is to be there when the daemon starts.
const EXAMPLES: &str =
    "cp plugin/../plugin-ebpf/examples/*.c . && mkdir --mode 755 /etc/ebpf-netns/programs";

/// The pages with commands that are run, and what is done before.
const PAGES: &[(&str, &[&str])] = &[
    ("README.md", &[]),
    ("SECURITY.md", &[DAEMON]),
    ("docs/by-hand.md", &[]),
    ("docs/capture.md", &[DAEMON, WEB]),
    ("docs/configuration.md", &[DAEMON]),
    ("docs/docker-desktop.md", &[DAEMON]),
    ("docs/doctor.md", &[DAEMON]),
    ("docs/explain.md", &[DAEMON, WEB]),
    ("docs/install.md", &[DAEMON]),
    ("docs/labels.md", &[]),
    // As on a host, where systemd mounts it so.
    ("docs/managed-plugin.md", &["mount --make-rshared /run"]),
    ("docs/metrics.md", &[DAEMON]),
    ("docs/network-driver.md", &["ebpf-netns run --driver"]),
    ("docs/programs.md", &[EXAMPLES, DAEMON]),
    ("docs/runtime.md", &["ebpf-netns-plugin runtime install", DAEMON]),
    ("docs/top.md", &[DAEMON, WEB]),
    ("docs/trace.md", &[DAEMON, WEB, "docker run -d --name db --label tc.egress=deny redis"]),
    ("docs/troubleshooting.md", &[DAEMON, WEB]),
];

/// Reads one of them.
fn read(path: &str) -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let (_, before) = PAGES.iter().find(|(page, _)| *page == path).context("it is a page")?;
    let document = documents::all()?.into_iter().find(|document| document.path == path);
    let document = document.with_context(|| format!("there is no {path}"))?;
    let mut reader = Reader::new(&document)?;
    if path == "docs/managed-plugin.md" {
        if !binaries::can_stand_alone()? {
            return Ok(());
        }
        reader.make_plugin()?;
    }
    reader.before(before)?;
    if before.contains(&WEB) {
        reader.wait_enforced("web")?;
    }
    for shown in document.commands()? {
        reader.follow(&shown)?;
    }
    Ok(())
}

/// A test for each, so that they are run beside each other and fail one by one.
macro_rules! pages {
    ($($test:ident $path:literal)*) => {
        $(
            #[test]
            fn $test() -> Result<()> {
                read($path)
            }
        )*

        const TESTED: &[&str] = &[$($path),*];
    };
}

pages! {
    the_commands_of_the_readme_do_what_it_says "README.md"
    the_commands_for_security_reports_work "SECURITY.md"
    the_commands_for_the_programs_by_hand_work "docs/by-hand.md"
    the_commands_about_capturing_work "docs/capture.md"
    the_commands_about_configuration_work "docs/configuration.md"
    the_commands_about_docker_desktop_work "docs/docker-desktop.md"
    the_commands_about_doctor_work "docs/doctor.md"
    the_commands_about_explain_work "docs/explain.md"
    the_commands_about_installing_work "docs/install.md"
    the_commands_about_labels_work "docs/labels.md"
    the_commands_about_the_managed_plugin_work "docs/managed-plugin.md"
    the_commands_about_metrics_work "docs/metrics.md"
    the_commands_about_own_programs_work "docs/programs.md"
    the_commands_about_the_network_driver_work "docs/network-driver.md"
    the_commands_about_the_runtime_gate_work "docs/runtime.md"
    the_commands_about_top_work "docs/top.md"
    the_commands_about_trace_work "docs/trace.md"
    the_commands_about_trouble_work "docs/troubleshooting.md"
}

#[test]
fn every_document_with_a_command_to_be_run_is_read() -> Result<()> {
    use crate::how::{How, how};
    for document in documents::all()? {
        let runs = |line: &str| !matches!(how(line), How::Not(_));
        let some = document.commands()?.iter().any(|shown| runs(&shown.line));
        let read = TESTED.contains(&document.path.as_str());
        ensure!(!some || read, "{} has commands and is no page of this test", document.path);
    }
    Ok(())
}
