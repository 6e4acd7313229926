//! Running a program to its end, with an error that shows what it said.

use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs `command` and returns what it wrote to stdout, without the last line end.
///
/// # Errors
///
/// When it cannot start or fails; the error shows the command and its stderr.
pub fn stdout_of(command: &mut Command) -> Result<String> {
    let output = output_of(command)?;
    if !output.status.success() {
        bail!(
            "{} failed, {}: {}{}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end(),
            String::from_utf8_lossy(&output.stdout).trim_end(),
        );
    }
    let text = String::from_utf8(output.stdout)
        .with_context(|| format!("{} wrote no text", shown(command)))?;
    Ok(text.trim_end().to_owned())
}

/// Runs `command` without input and returns all it wrote, whether or not it succeeded.
///
/// # Errors
///
/// When it cannot start.
pub fn output_of(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("start {}", shown(command)))
}

/// The command line as one would type it, without the wrappers that enter a machine.
#[must_use]
pub fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    let mut rest = words.as_slice();
    while let [program, arguments @ ..] = rest
        && (program == "nsenter" || program == "setpriv")
        && let Some(wrapper) = arguments.iter().position(|word| word == "--")
    {
        rest = arguments.get(wrapper + 1..).unwrap_or_default();
    }
    rest.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_are_not_shown() {
        let mut command = Command::new("nsenter");
        command.args(["--target=1", "--", "setpriv", "-x", "--", "cargo", "test", "--", "-q"]);
        assert_eq!(shown(&command), "cargo test -- -q");
        assert_eq!(shown(Command::new("ip").arg("link")), "ip link");
    }
}
