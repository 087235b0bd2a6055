//! How a command ends when it does not succeed: an exit code that scripts can rely on, and words
//! that say what to do.

use std::{fmt, process};

/// The exit codes, which are part of the command line's promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was tried and did not work.
    Failed = 1,
    /// No daemon answers on the socket.
    NoDaemon = 3,
    /// The configuration is not valid; nothing was changed.
    InvalidConfig = 4,
    /// Somebody else has changed the configuration meanwhile.
    Conflict = 5,
    /// No answer in time.
    Timeout = 6,
}

/// Why a command did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What is wrong: a sentence without a full stop, or a whole report that ends its last line.
    pub message: String,
    /// What to do, where the message does not say it.
    pub help: Option<String>,
}

impl Failure {
    /// A failure with its exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            help: None,
        }
    }

    /// A failure of the general kind.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// Says what to do.
    pub fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    /// Writes it to stderr and gives the process's exit code.
    pub fn report(&self) -> process::ExitCode {
        // Nobody is left to tell that stderr is closed.
        let _ = fmt::Write::write_fmt(&mut Stderr, format_args!("{self}"));
        process::ExitCode::from(self.exit as u8)
    }
}

struct Stderr;

impl fmt::Write for Stderr {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).map_err(|_| fmt::Error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.ends_with('\n') {
            f.write_str(&self.message)?;
        } else {
            writeln!(f, "error: {}", self.message)?;
        }
        match &self.help {
            Some(help) => writeln!(f, "help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_and_a_report_is_itself() {
        let failure = Failure::failed("no daemon").help("start one");
        assert_eq!(failure.to_string(), "error: no daemon\nhelp: start one\n");
        let report = Failure::new(Exit::InvalidConfig, "error: bad\n\nfile: 1 error\n");
        assert_eq!(report.to_string(), "error: bad\n\nfile: 1 error\n");
    }
}
