//! The same rules in the firewalls that Docker hosts have, where Docker lets its users have theirs.

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::policy::Entry;

/// What has the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Firewall {
    /// nftables, a rule an entry, one after the other.
    Nft,
    /// nftables, the entries as a set.
    NftSet,
    /// `iptables` of nftables, in `DOCKER-USER`.
    IptablesNft,
    /// `iptables` of old, in `DOCKER-USER`.
    IptablesLegacy,
}

/// Rules: each entry but the last is another's, and the last is of the traffic.
#[derive(Clone, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) others: &'a [Entry],
    pub(crate) last: Entry,
    /// What becomes of the traffic.
    pub(crate) drop: bool,
}

impl Firewall {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nft => "nftables, a rule an entry",
            Self::NftSet => "nftables, a set",
            Self::IptablesNft => "iptables-nft",
            Self::IptablesLegacy => "iptables-legacy",
        }
    }

    pub(crate) fn install(self, rules: &Rules<'_>) -> Result<()> {
        match self {
            Self::Nft => feed("nft", &["-f", "-"], &rules.nft()?),
            Self::NftSet => feed("nft", &["-f", "-"], &rules.nft_set()),
            Self::IptablesNft => feed("iptables-nft-restore", &[], &rules.iptables()?),
            Self::IptablesLegacy => feed("iptables-legacy-restore", &[], &rules.iptables()?),
        }
    }

    /// Removes every trace; but for `iptables` of old, whose table stays as long as the namespace.
    pub(crate) fn remove(self) -> Result<()> {
        match self {
            Self::Nft | Self::NftSet => feed("nft", &["-f", "-"], "delete table ip bench\n"),
            Self::IptablesNft => feed("nft", &["-f", "-"], "delete table ip filter\n"),
            Self::IptablesLegacy => {
                feed("iptables-legacy-restore", &[], "*filter\n:FORWARD ACCEPT\nCOMMIT\n")
            }
        }
    }
}

impl Rules<'_> {
    fn all(&self) -> impl Iterator<Item = (Entry, bool)> {
        self.others.iter().map(|entry| (*entry, false)).chain([(self.last, self.drop)])
    }

    fn nft(&self) -> Result<String> {
        let mut rules = String::new();
        for ((network, prefix, port), drop) in self.all() {
            let verdict = if drop { "drop" } else { "accept" };
            writeln!(rules, "ip daddr {network}/{prefix} udp dport {port} {verdict}")?;
        }
        Ok(nft_table("", &rules))
    }

    fn nft_set(&self) -> String {
        let entries: Vec<_> = self
            .all()
            .map(|((network, prefix, port), _)| format!("{network}/{prefix} . {port}"))
            .collect();
        let set = format!(
            "set these {{ type ipv4_addr . inet_service; flags interval; elements = {{ {} }} }}\n",
            entries.join(", ")
        );
        let verdict = if self.drop { "drop" } else { "accept" };
        nft_table(&set, &format!("ip daddr . udp dport @these {verdict}\n"))
    }

    fn iptables(&self) -> Result<String> {
        let mut text =
            "*filter\n:FORWARD ACCEPT\n:DOCKER-USER -\n-A FORWARD -j DOCKER-USER\n".to_owned();
        for ((network, prefix, port), drop) in self.all() {
            let verdict = if drop { "DROP" } else { "ACCEPT" };
            let matches = format!("-d {network}/{prefix} -p udp -m udp --dport {port}");
            writeln!(text, "-A DOCKER-USER {matches} -j {verdict}")?;
        }
        text.push_str("COMMIT\n");
        Ok(text)
    }
}

fn nft_table(set: &str, rules: &str) -> String {
    let hook = "type filter hook forward priority filter; policy accept;";
    format!("table ip bench {{\n{set}chain forward {{\n{hook}\n{rules}}}\n}}\n")
}

/// Gives a program its input.
fn feed(program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {program}"))?;
    let mut stdin = child.stdin.take().context("a pipe to it")?;
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().find(|line| !line.is_empty()).unwrap_or_default();
    ensure!(output.status.success(), "{program}: {first}");
    written.with_context(|| format!("write to {program}"))
}
