//! Configurations that are read, and those that are not, with what is said about them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use plugin_common::presets::Presets;
use tempfile::TempDir;

use super::*;
use crate::labels::{Audit, Direction, Named, NamedPolicy, TcPolicy, XdpMode, XdpPolicy};

/// A directory with a `config.toml` and other files.
fn directory(config: &str, policies: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &Path, text: &str| {
        fs::write(directory.path().join(name), text).unwrap();
        fs::set_permissions(directory.path().join(name), Permissions::from_mode(0o644)).unwrap();
    };
    write(Path::new("config.toml"), config);
    let named = directory.path().join(POLICIES);
    fs::create_dir(&named).unwrap();
    fs::set_permissions(&named, Permissions::from_mode(0o755)).unwrap();
    for (name, text) in policies {
        write(&Path::new(POLICIES).join(name), text);
    }
    directory
}

fn load_from(directory: &TempDir) -> Result<Config, ConfigErrors> {
    load(&Place::named(directory.path().join("config.toml")))
}

#[track_caller]
fn accepts(text: &str) -> Config {
    let directory = directory(text, &[("web.toml", "policy = \"drop-udp, log\"\n")]);
    load_from(&directory).unwrap_or_else(|errors| panic!("{text:?} is refused: {errors}"))
}

/// The configuration is refused, with a line for each of these, which has all of its words.
#[track_caller]
fn refuses(text: &str, expected: &[&[&str]]) {
    let directory = directory(text, &[("web.toml", "policy = \"drop-udp, log\"\n")]);
    told(&load_from(&directory).expect_err(text), text, expected);
}

#[track_caller]
fn told(errors: &ConfigErrors, what: &str, expected: &[&[&str]]) {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), expected.len(), "{what:?}: {lines:#?}");
    for (line, words) in lines.iter().zip(expected) {
        for word in *words {
            assert!(line.contains(word), "{what:?}: {line:?} lacks {word:?}");
        }
    }
}

#[test]
fn an_empty_file_is_the_default_configuration() {
    let config = accepts("# nothing yet\n");
    assert!(config.file.is_some());
    assert_eq!(Config { file: None, policies: Policies::default(), ..config }, Config::default());
}

#[test]
fn every_key_is_read() {
    let config = accepts(
        "on_error = \"audit\"\nrequire_sandbox = true\nstrict = true\ntc = \"clsact\"\n\
         strict_bridges = [\"br0\", \"lan\"]\nmetrics = \"127.0.0.1:9464\"\n\
         [default]\n\"xdp.policy\" = \"log\"\n\"xdp.mode\" = \"generic\"\n\
         \"tc.policy\" = \"web\"\n\"tc.direction\" = \"ingress\"\n",
    );
    assert_eq!(config.on_error, OnError::Audit);
    assert!(config.require_sandbox && config.strict);
    assert_eq!(config.strict_bridges, ["br0", "lan"]);
    assert_eq!(config.metrics, "127.0.0.1:9464".parse().ok());
    assert_eq!(config.tc, Some(TcFlavour::Clsact));
    let xdp = Some(XdpPolicy { presets: Presets::LOG, mode: XdpMode::Generic });
    let presets = Presets::DROP_UDP | Presets::LOG;
    let tc =
        TcPolicy { presets: Some(presets), direction: Direction::Ingress, ..TcPolicy::default() };
    let named = Named { xdp: None, tc: Some("web".to_owned()) };
    let audit = Audit::default();
    assert_eq!(
        config.default,
        Some(LabelPolicy { xdp, tc: Some(tc), audit, named, ..LabelPolicy::default() })
    );
    assert_eq!(config.policies.get("web"), Some(&NamedPolicy::from(presets)));
}

#[test]
fn keys_of_labels_need_no_quotes() {
    let quoted = accepts("[default]\n\"tc.policy\" = \"drop-tcp\"\n");
    for text in ["[default]\ntc.policy = \"drop-tcp\"\n", "[default.tc]\npolicy = \"drop-tcp\"\n"] {
        assert_eq!(accepts(text).default, quoted.default, "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    refuses("strict = yes\n", &[&["config.toml:1: "]]);
    refuses("\nstrikt = true\n", &[&[":2: ", "unknown key strikt", "did you mean strict?"]]);
    refuses("strict = \"true\"\n", &[&[":1: strict: found a string, expected true or false"]]);
    refuses("on_error = \"open\"\n", &[&[":1: on_error: found \"open\"", "closed, audit"]]);
    refuses("on_error = \"Audit\"\n", &[&["did you mean audit?"]]);
    refuses("metrics = 9464\n", &[&[":1: metrics: found a number, expected a string"]]);
    refuses("\nmetrics = \"9464\"\n", &[&[":2: metrics: found \"9464\"", "127.0.0.1:9464"]]);
    refuses("metrics = \"0.0.0.0:9464\"\n", &[&["0.0.0.0:9464 is not a loopback", "proxy"]]);
    refuses("tc = 1\n", &[&["tc: found a number, expected a string"]]);
    refuses("tc = \"tcx2\"\n", &[&["auto, tcx, clsact; did you mean tcx?"]]);
    refuses("strict_bridges = \"br0\"\n", &[&["found a string, expected a list of strings"]]);
    refuses(
        "strict_bridges = [\"br0\",\n \"\",\n \"a/b\",\n 1, \"sixteen-bytes-xx\"]\n",
        &[&[":2: "], &[":3: ", "a/b"], &[":4: ", "a number"], &[":4: ", "sixteen"]],
    );
    refuses("default = \"log\"\n", &[&[":1: default: expected a table"]]);
    refuses("strict = true\nstrict = true\n", &[&[":2: "]]);
    refuses("[default]\nxdp.policy = 5\n", &[&[":2: [default] xdp.policy: found a number"]]);
    refuses(
        "[default]\n\"maintainer\" = \"me\"\n",
        &[&[":2: [default] maintainer: expected a key"]],
    );
    refuses("a = \u{1b}\n", &[&[":1: "]]);
}

#[test]
fn the_default_policy_is_as_strict_as_labels() {
    refuses(
        "[default]\n\"xdp.polcy\" = \"log\"\n",
        &[&[":2: [default] xdp.polcy: unknown key; did you mean xdp.policy?"]],
    );
    refuses(
        "[default]\n\n\"tc.policy\" = \"log,drop-tpc\"\n",
        &[&[":3: ", "column 5", "drop-tcp?"]],
    );
    refuses(
        "[default]\n\"tc.policy\" = \"wed\"\n",
        &[&["\"wed\"", "/policies", "did you mean web?"]],
    );
    refuses("[default]\n\"xdp.mode\" = \"native\"\n", &[&["xdp.mode", "add xdp.policy"]]);
}

#[test]
fn rules_stand_in_the_default_policy_and_in_named_ones() {
    let text = "[default]\ntc.egress = \"deny to metadata; allow\"\ntc.policy = \"web\"\n";
    let rules = "egress = '''\nallow dns\nallow tcp 443 to internet'''\ningress = 'allow tcp 80'\n";
    let config = load_from(&directory(text, &[("web.toml", rules)])).expect("understood");
    assert_eq!(
        config.policies.get("web").map(ToString::to_string).as_deref(),
        Some(
            "egress rules: { allow dns; allow tcp 443 to internet }; \
             ingress rules: { allow tcp 80 }"
        )
    );
    assert_eq!(
        config.default.map(|policy| policy.to_string()).as_deref(),
        Some(
            "TC, egress rules: { allow dns; allow tcp 443 to internet }; \
             TC, egress rules: { deny to metadata; allow }; TC, ingress rules: { allow tcp 80 }"
        )
    );
}

#[test]
fn rules_are_refused_with_the_line_of_the_file_and_their_own() {
    let directory = directory(
        "[default]\n\ntc.egress = '''\ndeny\nalow tcp 80\nallow to example.com\n'''\n",
        &[
            ("a.toml", "egress = 'allow tcp 80 from lan'\ningress = 1\n"),
            ("b.toml", "policy = 'log'\negress = ''\n"),
            ("c.toml", &format!("egress = '{}'", "deny;".repeat(600))),
            ("d.toml", &format!("egress = '''{}'''", "deny\n".repeat(257))),
            ("e.toml", &format!("egress = '''{}'''", "deny\n".repeat(1000))),
            ("f.toml", &format!("egress = '''{0}'''\ningress = '''{0}'''", "deny\n".repeat(200))),
        ],
    );
    told(
        &load_from(&directory).expect_err("refused"),
        "rules",
        &[
            &["config.toml:3: [default] tc.egress, line 2, column 1: found \"alow\"", "allow?"],
            &["config.toml:3: [default] tc.egress, line 3, column 10", "domain names"],
            &["a.toml:1: egress, line 1, column 14: found \"from\""],
            &["a.toml:2: ingress: found a number, expected a string"],
            &["b.toml:2: egress: no rule in it"],
            &["c.toml:1: egress, line 1, column 1: the line is longer than 512 bytes"],
            &["d.toml:1: egress: more than 256 rules"],
            &["e.toml:1: egress: the value is longer than 4096 bytes"],
            &["f.toml: 400 rules in both directions: 256 are the most"],
        ],
    );
}

#[test]
fn every_problem_of_every_file_is_told() {
    let directory = directory(
        "strict = 1\ntc = \"x\"\n[default]\n\"tc.policy\" = \"bad\"\n\"xdp.policy\" = \"x!\"\n",
        &[
            ("bad.toml", "policy = \"drop-tpc\"\n"),
            ("empty.toml", ""),
            ("log.toml", "policy = \"log\"\n"),
            ("Web.toml", "policy = \"log\"\n"),
            ("more.toml", "policy = \"log\"\nxdp = 1\n"),
            ("notes.txt", "left alone"),
            (".web.toml.swp", "left alone"),
        ],
    );
    let errors = load_from(&directory).expect_err("refused");
    told(
        &errors,
        "everything",
        &[
            &["config.toml:1: strict"],
            &["config.toml:2: tc"],
            &["config.toml:5: [default] xdp.policy"],
            &["policies/Web.toml: ", "lower-case"],
            &["policies/bad.toml:1: policy: column 1", "did you mean drop-tcp?"],
            &["policies/empty.toml: has none of the keys policy, egress and ingress"],
            &["policies/log.toml: log is the name of a preset"],
            &["policies/more.toml:2: unknown key xdp: expected one of egress, ingress, policy"],
        ],
    );
}

#[test]
fn a_named_file_must_be_there_and_the_default_one_need_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    let errors = load(&Place::named(file.clone())).expect_err("refused");
    told(&errors, "named", &[&["config.toml: is not there"]]);
    let config = load(&Place { file, required: false }).expect("the default configuration");
    assert_eq!(Config { policies: Policies::default(), ..config }, Config::default());
}

#[test]
fn only_regular_files_that_root_alone_writes_are_read() {
    let directory = directory("", &[("web.toml", "policy = \"log\"\n")]);
    let (file, policy) =
        (directory.path().join("config.toml"), directory.path().join("policies/web.toml"));
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    for path in [&file, &policy, &directory.path().join(POLICIES)] {
        let before = fs::metadata(path).unwrap().permissions();
        for writable in [0o664, 0o646, 0o777] {
            mode(path, writable);
            let errors = load_from(&directory).expect_err("refused");
            let name = path.display().to_string();
            told(&errors, "writable", &[&[&name, "may be written by others", "chmod go-w"]]);
        }
        fs::set_permissions(path, before).unwrap();
    }
    load_from(&directory).expect("as it was");

    let elsewhere = directory.path().join("elsewhere.toml");
    fs::rename(&policy, &elsewhere).unwrap();
    symlink(&elsewhere, &policy).unwrap();
    told(
        &load_from(&directory).expect_err("refused"),
        "link",
        &[&["web.toml: is a symbolic link"]],
    );
    fs::remove_file(&policy).unwrap();
    nix::unistd::mkfifo(&policy, nix::sys::stat::Mode::S_IRUSR).unwrap();
    told(&load_from(&directory).expect_err("refused"), "pipe", &[&["not a regular file"]]);
    fs::remove_file(&policy).unwrap();
    fs::write(&file, "#".repeat(65 * 1024)).unwrap();
    told(&load_from(&directory).expect_err("refused"), "large", &[&["larger than 65536 bytes"]]);
    fs::write(&file, b"tc = \"\xff\"").unwrap();
    told(&load_from(&directory).expect_err("refused"), "bytes", &[&["config.toml: is not UTF-8"]]);
}
