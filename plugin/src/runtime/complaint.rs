//! Telling why a container does not start, or starts although it should not: on standard error, and
//! in the log that containerd gives the runtime, whose last error is what `docker run` shows.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::process;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use super::arguments::LogFile;
use super::settings::PROGRAM;

/// Where the system's log takes messages.
const SYSLOG: &str = "/dev/log";
/// Facility `daemon`, severity `warning`.
const SYSLOG_PRIORITY: u8 = 3 * 8 + 4;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// The container starts.
    Warning,
    /// It does not.
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Tells one sentence. What cannot be told in one place is told in the others.
///
/// Nobody shows what a runtime says when it succeeds: a warning also goes to the system's log.
pub(super) fn tell(log: Option<&LogFile>, level: Level, sentence: &str) {
    writeln!(io::stderr().lock(), "{PROGRAM}: {sentence}").ok();
    if let Some(LogFile { path, json }) = log
        && let Ok(mut file) = File::options().create(true).append(true).open(path)
    {
        let entry = if *json { json_entry(level, sentence) } else { text_entry(level, sentence) };
        file.write_all(entry.as_bytes()).ok();
    }
    if level == Level::Warning
        && let Ok(socket) = UnixDatagram::unbound()
    {
        let message = format!("<{SYSLOG_PRIORITY}>{PROGRAM}[{}]: {sentence}", process::id());
        // A log that is full must not hold a container.
        let sent =
            socket.set_nonblocking(true).and_then(|()| socket.send_to(message.as_bytes(), SYSLOG));
        sent.ok();
    }
}

/// An entry as runc writes it with `--log-format json`.
fn json_entry(level: Level, sentence: &str) -> String {
    let entry = serde_json::json!({ "level": level.name(), "msg": sentence, "time": now() });
    format!("{entry}\n")
}

/// An entry as runc writes it otherwise.
fn text_entry(level: Level, sentence: &str) -> String {
    format!("time={:?} level={} msg={sentence:?}\n", now(), level.name())
}

/// The time as RFC 3339 has it.
fn now() -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    SystemTime.format_time(&mut Writer::new(&mut text)).ok();
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn entries_are_appended_as_runc_writes_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.json");
        let log = LogFile { path: path.clone(), json: true };
        fs::write(&path, "{\"level\":\"info\"}\n").unwrap();
        tell(Some(&log), Level::Error, "a \"quoted\" reason");
        tell(Some(&log), Level::Warning, "another");
        let text = fs::read_to_string(&path).unwrap();
        let entries: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [_, error, warning] = entries.as_slice() else { panic!("three entries: {text}") };
        assert_eq!(
            (&error["level"], &error["msg"]),
            (&"error".into(), &"a \"quoted\" reason".into())
        );
        assert_eq!(warning["level"], "warning");
        let time = error["time"].as_str().unwrap();
        assert!(time.starts_with("20") && time.contains('T') && time.ends_with('Z'), "{time}");
    }

    #[test]
    fn a_text_entry_is_one_line() {
        let entry = text_entry(Level::Error, "two\nlines");
        assert!(entry.ends_with(" level=error msg=\"two\\nlines\"\n"), "{entry}");
        assert_eq!(entry.lines().count(), 1);
    }
}
