//! Packages are the same whenever they are made, whole, and what other tools take them for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_dist::Machine;
use ebpf_netns_tests::{binaries, command::stdout_of, documents};
use serde_json::Value;
use tempfile::TempDir;

use super::packed::{VERSION, packages, packed, release, repository};

#[test]
fn packages_of_the_same_programs_are_the_same_bytes() -> Result<()> {
    if !binaries::can_stand_alone()? {
        return Ok(());
    }
    let again = tempfile::tempdir()?;
    for file in release()?.write(again.path())? {
        let name = file.file_name().context("it has a name")?;
        let (first, second) = (fs::read(packages()?.join(name))?, fs::read(&file)?);
        ensure!(first == second, "{} is another each time", name.display());
    }
    stdout_of(
        Command::new("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(packages()?),
    )?;
    Ok(())
}

#[test]
fn the_debian_package_has_everything_in_its_place_and_depends_on_nothing() -> Result<()> {
    if !binaries::can_stand_alone()? {
        return Ok(());
    }
    let package = packed(".deb")?;
    let listed = stdout_of(Command::new("dpkg-deb").arg("--contents").arg(&package))?;
    for line in listed.lines() {
        ensure!(line.contains(" root/root "), "everything is root's: {line}");
    }
    for path in [
        "usr/bin/ebpf-netns\n",
        "usr/bin/ebpf-netns-plugin\n",
        "usr/bin/ebpf-netns-runtime\n",
        "usr/lib/systemd/system/ebpf-netns.service\n",
        "usr/share/man/man1/ebpf-netns.1.gz\n",
        "usr/share/man/man8/ebpf-netns-status.8.gz -> ebpf-netns-plugin-status.8.gz\n",
        "usr/share/bash-completion/completions/ebpf-netns\n",
        "usr/share/zsh/vendor-completions/_ebpf-netns\n",
        "usr/share/fish/vendor_completions.d/ebpf-netns.fish\n",
        "usr/share/doc/ebpf-netns/copyright\n",
        "usr/share/doc/ebpf-netns/docs/labels.md\n",
        "etc/ebpf-netns/config.toml\n",
    ] {
        ensure!(format!("{listed}\n").contains(path), "{path:?} is missing in {listed}");
    }
    let field = |name| stdout_of(Command::new("dpkg-deb").arg("--field").arg(&package).arg(name));
    ensure!(
        field("Version")? == VERSION && field("Architecture")? == release()?.machine.architecture()
    );
    ensure!(field("Depends")?.is_empty() && field("Pre-Depends")?.is_empty());
    Ok(())
}

#[test]
fn the_tarball_unpacks_into_usr_local_with_a_unit_that_fits() -> Result<()> {
    let Some(local) = unpacked()? else { return Ok(()) };
    let unit = fs::read_to_string(local.path().join("lib/systemd/system/ebpf-netns.service"))?;
    ensure!(unit.contains("ExecStart=/usr/local/bin/ebpf-netns-plugin run"), "{unit}");
    let program = local.path().join("bin/ebpf-netns");
    let said = stdout_of(Command::new(&program).arg("--version"))?;
    ensure!(said == format!("ebpf-netns {VERSION}"), "{said}");
    // The configuration that is installed changes nothing, and is understood.
    let configuration = local.path().join("share/doc/ebpf-netns/config.toml");
    let checked = stdout_of(
        Command::new(local.path().join("bin/ebpf-netns-plugin"))
            .args(["check", "--config"])
            .arg(&configuration),
    )?;
    ensure!(!checked.contains("policy:"), "it demands nothing: {checked}");
    Ok(())
}

#[test]
fn completions_are_ones_that_bash_takes() -> Result<()> {
    let Some(local) = unpacked()? else { return Ok(()) };
    let script = local.path().join("share/bash-completion/completions/ebpf-netns");
    // As bash calls it for `ebpf-netns sta`, and for `ebpf-netns unl`: a verb of each program.
    for (begun, expected) in [("sta", "status"), ("unl", "unlink")] {
        let typed = format!(
            "source {}; set -- $(complete -p ebpf-netns); while [ $1 != -F ]; do shift; done; \
             COMP_WORDS=(ebpf-netns {begun}); COMP_CWORD=1; \
             $2 ebpf-netns {begun} ebpf-netns; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let said = stdout_of(Command::new("bash").args(["-c", &typed]))?;
        ensure!(said.split(' ').any(|word| word == expected), "{begun} becomes {said:?}");
    }
    Ok(())
}

/// What `/usr/local` becomes of the tarball; `None` where no programs can be packed.
fn unpacked() -> Result<Option<TempDir>> {
    if !binaries::can_stand_alone()? {
        return Ok(None);
    }
    let local = tempfile::tempdir()?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--strip-components=1", "--file"]).arg(packed("linux.tar.gz")?);
    stdout_of(tar.arg("--directory").arg(local.path()))?;
    Ok(Some(local))
}

#[test]
fn files_of_packages_that_documents_name_are_those_that_are_packed() -> Result<()> {
    if !binaries::can_stand_alone()? || release()?.machine != Machine::X86_64 {
        return Ok(());
    }
    let mut named = 0;
    for document in documents::all()? {
        for shown in document.commands()? {
            let words = shown.programs()?.into_iter().flat_map(|program| program.words);
            // Not the image's name, which has its version behind a colon.
            for word in words.filter(|word| word.contains(VERSION) && !word.contains(':')) {
                let name = Path::new(&word).file_name().context("it is a file")?;
                ensure!(packages()?.join(name).is_file(), "{}: there is no {word}", shown.place);
                named += 1;
            }
        }
    }
    ensure!(named > 3, "{named} are named");
    Ok(())
}

#[test]
fn the_bill_of_materials_has_every_package_with_its_licence_and_checksum() -> Result<()> {
    if !binaries::can_stand_alone()? {
        return Ok(());
    }
    let bill: Value = serde_json::from_slice(&fs::read(packed(".cdx.json")?)?)?;
    let components = bill["components"].as_array().context("there are components")?;
    let mut named = BTreeSet::new();
    for component in components {
        let name = component["name"].as_str().context("each has a name")?;
        ensure!(component["licenses"][0]["expression"].is_string(), "{component}");
        let ours = name.starts_with("ebpf-netns") || name == "plugin-common";
        ensure!(ours || component["hashes"][0]["content"].is_string(), "{component}");
        named.insert(name.to_owned());
    }
    // What cargo says is linked into the programs, by another of its commands.
    let mut tree = Command::new("cargo");
    tree.args(["tree", "--locked", "--offline", "--target", release()?.machine.target()]);
    tree.args(["--package", "ebpf-netns", "--package", "ebpf-netns-plugin"]);
    tree.args(["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]);
    let linked = stdout_of(tree.current_dir(repository()))?;
    for name in
        linked.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty())
    {
        ensure!(named.contains(name), "{name} is linked and not in the bill: {named:?}");
    }
    ensure!(!named.contains("proptest"), "what only tests need is not in it");
    Ok(())
}
