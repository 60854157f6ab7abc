//! One line on standard error that says how far a command has come.

use std::{
    io::{IsTerminal, Write, stderr},
    sync::atomic::{AtomicI64, Ordering},
};

use crate::now_ms;

/// When the line was last written, so that fast loops may report as often as they like.
static SHOWN_AT_MS: AtomicI64 = AtomicI64::new(0);

/// Shows the line now, on a line of its own where the output is not a terminal.
pub fn say(line: &str) {
    SHOWN_AT_MS.store(now_ms(), Ordering::Relaxed);
    if stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
        // Progress is a courtesy: where it cannot be written, the measurement goes on.
        let _ = stderr().flush();
    } else {
        eprintln!("{line}");
    }
}

/// Shows the line if the last one is old enough: half a second on a terminal, 5 s in a log.
pub fn tick(line: impl FnOnce() -> String) {
    let pause_ms = if stderr().is_terminal() { 500 } else { 5_000 };
    let shown_at_ms = SHOWN_AT_MS.load(Ordering::Relaxed);
    if now_ms() - shown_at_ms >= pause_ms {
        say(&line());
    }
}

/// Leaves the line, so that what follows does not overwrite it.
pub fn end() {
    if stderr().is_terminal() && SHOWN_AT_MS.load(Ordering::Relaxed) > 0 {
        eprintln!();
    }
}
