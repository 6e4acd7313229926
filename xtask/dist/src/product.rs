//! What an installation consists of, and where each part of it belongs.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use clap_complete::Shell;

use crate::archive::gzip;
use crate::epoch::Epoch;
use crate::manuals::{self, Completion, Page};
use crate::programs::Programs;
use crate::tree::Tree;

/// The unit, and where it says that the daemon is.
const UNIT: &str = "plugin/systemd/ebpf-netns.service";
const DAEMON: &str = "/usr/bin/ebpf-netns-plugin";

/// The configuration that changes nothing and explains everything.
const CONFIGURATION: &str = "xtask/dist/config.toml";

/// What is for reading; each keeps its place, so that the links between them lead somewhere.
const DOCUMENTS: [&str; 3] = ["README.md", "CHANGELOG.md", "docs"];

/// Who may put files where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Of a distribution's package, below `/`.
    Debian,
    /// Of the machine's administrator, below `/usr/local`.
    Local,
}

/// The parts, before it is said where they go.
pub(crate) struct Product<'a> {
    root: &'a Path,
    programs: &'a Programs,
    pages: Vec<Page>,
    completions: Vec<Completion>,
}

impl<'a> Product<'a> {
    pub(crate) fn new(root: &'a Path, programs: &'a Programs, epoch: Epoch) -> Result<Self> {
        let (pages, completions) = (manuals::pages(epoch)?, manuals::completions());
        Ok(Self { root, programs, pages, completions })
    }

    /// All of it, as one layout has it.
    pub(crate) fn tree(&self, layout: Layout) -> Result<Tree> {
        let mut tree = Tree::default();
        let base = if layout == Layout::Debian { "usr/" } else { "" };
        for (name, bytes) in self.programs.iter() {
            tree.program(&format!("{base}bin/{name}"), bytes.to_vec());
        }
        let unit = self.unit(layout)?;
        tree.file(&format!("{base}lib/systemd/system/ebpf-netns.service"), unit);
        self.add_manuals(&mut tree, base)?;
        for Completion { command, shell, text } in &self.completions {
            let (directory, file) = completion(layout, *shell, command);
            tree.file(&format!("{base}share/{directory}/{file}"), text.clone());
        }
        let documents = format!("{base}share/doc/ebpf-netns");
        for document in DOCUMENTS {
            self.add_documents(&mut tree, document, &documents)?;
        }
        let licences = self.licences()?;
        let configuration = self.read(CONFIGURATION)?;
        match layout {
            Layout::Debian => {
                tree.file(&format!("{documents}/copyright"), licences);
                tree.file("etc/ebpf-netns/config.toml", configuration);
                tree.directory("etc/ebpf-netns/policies");
            }
            Layout::Local => {
                tree.file(&format!("{documents}/LICENSE"), licences);
                tree.file(&format!("{documents}/config.toml"), configuration);
            }
        }
        Ok(tree)
    }

    /// It starts the daemon from where the layout has it.
    fn unit(&self, layout: Layout) -> Result<String> {
        let unit = String::from_utf8(self.read(UNIT)?).context("a unit is text")?;
        ensure!(unit.contains(DAEMON), "{UNIT} does not start {DAEMON}");
        Ok(match layout {
            Layout::Debian => unit,
            Layout::Local => unit.replace(DAEMON, "/usr/local/bin/ebpf-netns-plugin"),
        })
    }

    fn add_manuals(&self, tree: &mut Tree, base: &str) -> Result<()> {
        let place = |section: &str, name: &str| format!("{base}share/man/man{section}/{name}.gz");
        for Page { name, section, text } in &self.pages {
            tree.file(&place(section, name), gzip(text)?);
        }
        for (alias, page) in manuals::aliases() {
            tree.link(&place("8", &alias), &format!("{page}.gz"));
        }
        Ok(())
    }

    /// A document, or all of a directory's.
    fn add_documents(&self, tree: &mut Tree, path: &str, below: &str) -> Result<()> {
        let full = self.root.join(path);
        if !full.is_dir() {
            tree.file(&format!("{below}/{path}"), self.read(path)?);
            return Ok(());
        }
        for entry in fs::read_dir(&full).with_context(|| format!("list {}", full.display()))? {
            let name = entry.with_context(|| format!("list {}", full.display()))?.file_name();
            let name = name.to_str().with_context(|| format!("a name in {path} is not text"))?;
            self.add_documents(tree, &format!("{path}/{name}"), below)?;
        }
        Ok(())
    }

    /// Both licences, of which the user chooses.
    fn licences(&self) -> Result<Vec<u8>> {
        let mut text = format!(
            "ebpf-netns: {}\nLicensed under either of the following, as you choose. The file \
             *.cdx.json of the release names the licences of what is linked into the programs.\n\n",
            env!("CARGO_PKG_REPOSITORY")
        )
        .into_bytes();
        text.extend(self.read("LICENSE-MIT")?);
        text.extend_from_slice(b"\n\n");
        text.extend(self.read("LICENSE-APACHE")?);
        Ok(text)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        fs::read(self.root.join(path)).with_context(|| format!("read {path} of the repository"))
    }
}

/// Where a shell looks for the completions of a command: the directory below `share`, and the file.
fn completion(layout: Layout, shell: Shell, command: &str) -> (&'static str, String) {
    match (shell, layout) {
        (Shell::Zsh, Layout::Debian) => ("zsh/vendor-completions", format!("_{command}")),
        (Shell::Zsh, Layout::Local) => ("zsh/site-functions", format!("_{command}")),
        (Shell::Fish, _) => ("fish/vendor_completions.d", format!("{command}.fish")),
        _ => ("bash-completion/completions", command.to_owned()),
    }
}
