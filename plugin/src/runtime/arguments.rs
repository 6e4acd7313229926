//! What an OCI runtime is asked to do, read from its command line. Pure, and lenient: what is not
//! understood here is the real runtime's to refuse.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// The only option of our own. It comes from `runtimeArgs` in Docker's configuration, which Docker
/// puts before everything else, and the real runtime does not get to see it.
pub const SETTINGS_OPTION: &str = "--ebpf-netns-settings";

/// Options before the verb that take a value in a word of its own: runc's, crun's and youki's.
const WITH_VALUE: [&str; 8] =
    ["root", "log", "log-format", "log-level", "criu", "rootless", "cgroup-manager", "l"];

/// The verbs of runc, of which the first one of a command line is meant. To know them tells a verb
/// from the value of an option that only another runtime has.
const VERBS: [&str; 18] = [
    "checkpoint",
    "create",
    "delete",
    "events",
    "exec",
    "features",
    "help",
    "init",
    "kill",
    "list",
    "pause",
    "ps",
    "restore",
    "resume",
    "run",
    "spec",
    "start",
    "state",
];

/// A command line, without our own option.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Our own option's value.
    pub settings: Option<PathBuf>,
    /// What the real runtime gets, word by word as it came.
    pub rest: Vec<OsString>,
    /// Those of them that stand before the verb, for another verb on the same container.
    pub globals: Vec<OsString>,
    /// What is asked for.
    pub verb: Verb,
    /// Where the real runtime keeps its state: containerd makes the namespace its last part.
    pub root: Option<PathBuf>,
    /// Where the real runtime writes its log, which the caller reads errors from.
    pub log: Option<LogFile>,
}

/// What is asked for, as far as it makes a difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verb {
    /// The prepared container with this id is to begin.
    Start(String),
    /// Something that makes a container: the next step is that it starts.
    Make,
    /// Anything else, which must work whatever happens: a container that runs can be stopped.
    #[default]
    Other,
}

/// A log of the real runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// The file.
    pub path: PathBuf,
    /// Whether each line is a JSON object.
    pub json: bool,
}

impl Arguments {
    /// Reads a command line, without the program's own name.
    #[must_use]
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Self {
        let (settings, rest) = take_settings(words);
        let mut read = Self { settings, ..Self::default() };
        let mut log = None;
        let mut json = false;
        let mut words = rest.iter();
        while let Some(word) = words.next() {
            let Some((option, value)) = as_option(word) else {
                if let Some(verb) = as_verb(word) {
                    let after = words.as_slice();
                    read.verb = verb_of(verb, after);
                    read.globals =
                        rest.iter().take(rest.len() - after.len() - 1).cloned().collect();
                    break;
                }
                continue;
            };
            let value = match value {
                Some(value) => Some(value),
                None if WITH_VALUE.contains(&option) => words.next().cloned(),
                None => None,
            };
            match (option, value) {
                ("root", Some(value)) => read.root = Some(value.into()),
                ("log" | "l", Some(value)) => log = Some(value.into()),
                ("log-format", Some(value)) => json = value == "json",
                _ => {}
            }
        }
        read.log = log.map(|path| LogFile { path, json });
        read.rest = rest;
        read
    }
}

/// Takes our own option out, which stands first when it is there.
fn take_settings(words: impl IntoIterator<Item = OsString>) -> (Option<PathBuf>, Vec<OsString>) {
    let mut words = words.into_iter().peekable();
    let own = words.next_if(|word| {
        let value = word.to_str().and_then(|word| word.strip_prefix(SETTINGS_OPTION));
        value.is_some_and(|value| value.starts_with('='))
    });
    let path = own.as_ref().and_then(|word| Some(word.to_str()?.split_once('=')?.1.into()));
    (path, words.collect())
}

/// Name and attached value of an option. One dash is as good as two, as in Go's `flag`.
fn as_option(word: &OsStr) -> Option<(&str, Option<OsString>)> {
    // A value may be any bytes; the name of an option is text.
    let bytes = word.as_encoded_bytes();
    let name = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"))?;
    let mut parts = name.splitn(2, |byte| *byte == b'=');
    let name = parts.next().and_then(|name| str::from_utf8(name).ok()).unwrap_or_default();
    let value = parts.next().map(os_string);
    Some((name, value))
}

fn os_string(bytes: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStrExt as _;
    OsStr::from_bytes(bytes).to_owned()
}

fn as_verb(word: &OsStr) -> Option<&'static str> {
    VERBS.into_iter().find(|verb| word == *verb)
}

fn verb_of(verb: &str, after: &[OsString]) -> Verb {
    match verb {
        "create" | "run" | "restore" => Verb::Make,
        "start" => {
            // `start` has no options but for --help, with which it starts nothing.
            match after.iter().find(|word| *word != "--").map(|word| word.to_str()) {
                Some(Some(id)) if !id.starts_with('-') => Verb::Start(id.to_owned()),
                _ => Verb::Other,
            }
        }
        _ => Verb::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f0c5d4c1e4b7a9cf2bd5d5c7a6b1b6d2f7a3e9f0a1b2c3d4e5f60718293a4b5";
    const MOBY: &str = "--root /var/run/docker/runtime-runc/moby";
    const LOG: &str = "--log /run/containerd/x/log.json --log-format json";

    fn parse(line: &str) -> Arguments {
        let line = line.replace("ID", ID);
        Arguments::parse(line.split_whitespace().map(OsString::from))
    }

    #[track_caller]
    fn check(line: &str, verb: &Verb) {
        let read = parse(line);
        assert_eq!(&read.verb, verb, "{line}");
        let passed: Vec<_> =
            line.replace("ID", ID).split_whitespace().map(OsString::from).collect();
        assert_eq!(read.rest, passed, "{line} is passed on as it is");
    }

    #[test]
    fn the_start_of_a_container_is_found() {
        let start = Verb::Start(ID.to_owned());
        for line in [
            // containerd's shim for Docker 20.10 to 29, and with systemd's cgroups.
            format!("{MOBY} {LOG} start ID"),
            format!("{MOBY} {LOG} --systemd-cgroup start ID"),
            format!("{MOBY} --debug {LOG} --rootless=true --systemd-cgroup=true start ID"),
            "--root=/run/x --log=/x/start --log-format=json start ID".to_owned(),
            // Values that look like verbs.
            "--root start --log create --log-format start start ID".to_owned(),
            "-root /x -log /y start ID".to_owned(),
            "--criu /usr/sbin/criu --rootless auto start ID".to_owned(),
            // Other runtimes' options, one of them with a value in a word of its own.
            "--cgroup-manager cgroupfs --log-level debug start ID".to_owned(),
            "--platform kvm --network=host start ID".to_owned(),
            "start ID".to_owned(),
            "start -- ID".to_owned(),
        ] {
            check(&line, &start);
        }
    }

    #[test]
    fn everything_else_passes() {
        for line in [
            "",
            "--version",
            "-v",
            "--help",
            "features",
            "init",
            "start",
            "start --help",
            "start -h ID",
            "frobnicate",
            "--root",
            "--log /x --root /y",
            "--root /x kill --all ID 9",
            "--root /x state ID",
            "--root /x --log start --log-format json delete --force ID",
            "--root /x exec --process /tmp/x --detach --pid-file /y ID",
            "exec ID start ID",
            "--root /x pause ID",
            "--root /x update --resources - ID",
            "--root /x ps --format json ID",
            "list",
            "help start",
        ] {
            check(line, &Verb::Other);
        }
    }

    #[test]
    fn what_makes_a_container_is_told_from_what_manages_it() {
        let bundle = "--bundle /run/b --pid-file /run/b/init.pid --console-socket /tmp/p.sock ID";
        check(&format!("{MOBY} {LOG} create {bundle}"), &Verb::Make);
        check("run ID", &Verb::Make);
        check("restore --detach ID", &Verb::Make);
    }

    #[test]
    fn the_log_and_the_root_are_found_wherever_they_are_given() {
        let read = parse(&format!("{MOBY} {LOG} start ID"));
        let path = PathBuf::from("/run/containerd/x/log.json");
        assert_eq!(read.log, Some(LogFile { path, json: true }));
        assert_eq!(read.root, Some("/var/run/docker/runtime-runc/moby".into()));
        assert_eq!(read.globals, format!("{MOBY} {LOG}").split(' ').collect::<Vec<_>>());
        let read = parse("--log=/x start ID");
        assert_eq!(read.log, Some(LogFile { path: "/x".into(), json: false }));
        // What stands after the verb is the verb's.
        assert_eq!(parse("exec --log /x ID").log, None);
    }

    #[test]
    fn our_own_option_is_taken_out() {
        let read = parse("--ebpf-netns-settings=/etc/a.toml --root /x start ID");
        assert_eq!(read.settings, Some("/etc/a.toml".into()));
        assert_eq!(read.rest, ["--root", "/x", "start", ID]);
        assert_eq!(read.verb, Verb::Start(ID.to_owned()));
        // Where it cannot have come from Docker's configuration, it is the real runtime's to refuse.
        let read = parse("exec ID --ebpf-netns-settings=/etc/a.toml");
        assert_eq!((read.settings, read.rest.len()), (None, 3));
    }

    #[test]
    fn words_that_are_not_text_are_passed_on() {
        let odd = os_string(b"--log=/x\xff");
        let read = Arguments::parse([odd.clone(), "start".into(), "a".into()]);
        assert_eq!(read.verb, Verb::Start("a".to_owned()));
        assert_eq!(read.log.map(|log| log.path), Some(os_string(b"/x\xff").into()));
        assert_eq!(read.rest.first(), Some(&odd));
    }
}
