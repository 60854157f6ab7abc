//! What the system says about a process: its memory, its processor time, its limit of open files.

use std::{env, fs, io, os::unix::process::CommandExt, path::PathBuf, process::Command, time::Duration};

use crate::error::BenchError;

/// Clock ticks a second in /proc; part of Linux's interface to programs, whatever the kernel's own clock does.
const TICKS_PER_SECOND: u64 = 100;
/// Set for the second start of this program, which then does not try a third.
const RAISED: &str = "BACKBEAT_BENCH_OPEN_FILES";

/// Resident memory in bytes.
pub fn resident_bytes(pid: u32) -> Result<u64, BenchError> {
    let status = read(pid, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1_024).ok_or_else(|| unreadable(pid))
}

/// Processor time used since the process began, by all its threads, in steps of 10 ms.
pub fn processor_time(pid: u32) -> Result<Duration, BenchError> {
    let stat = read(pid, "stat")?;
    // The program's name is in parentheses and may hold anything, so fields are counted from behind it.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_ascii_whitespace().collect::<Vec<_>>());
    let ticks = |place: usize| fields.as_ref()?.get(place)?.parse::<u64>().ok();
    // Fields 14 and 15 of proc_pid_stat(5): user and system time. The first behind the name is field 3.
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok(Duration::from_millis((user + system) * 1_000 / TICKS_PER_SECOND)),
        _ => Err(unreadable(pid)),
    }
}

/// Sees to it that this process may open so many files, by starting it again under a higher soft limit:
/// the standard library cannot change the limit of a running process.
pub fn raise_open_files(needed: u64) -> Result<(), BenchError> {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let Some((soft, hard)) = open_files(&limits) else { return Ok(()) };
    if needed <= soft {
        return Ok(());
    }
    if needed > hard || env::var_os(RAISED).is_some() {
        return Err(BenchError::OpenFiles { needed, limit: hard });
    }
    let program = env::current_exe().map_err(|source| BenchError::Read { path: "/proc/self/exe".into(), source })?;
    let error = Command::new("sh")
        .args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &needed.to_string()])
        .arg(&program)
        .args(env::args_os().skip(1))
        .env(RAISED, "1")
        .exec();
    Err(BenchError::Spawn { path: program, source: error })
}

/// The soft and the hard limit.
fn open_files(limits: &str) -> Option<(u64, u64)> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut values = line.split_ascii_whitespace().map(|value| match value {
        "unlimited" => Some(u64::MAX),
        value => value.parse().ok(),
    });
    Some((values.next()??, values.next()??))
}

fn read(pid: u32, file: &str) -> Result<String, BenchError> {
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    fs::read_to_string(path).map_err(|source| BenchError::Process { pid, source })
}

fn unreadable(pid: u32) -> BenchError {
    BenchError::Process { pid, source: io::Error::from(io::ErrorKind::InvalidData) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_has_worked() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 100_000);
        assert!(processor_time(pid).unwrap() < Duration::from_secs(3_600));
        assert!(resident_bytes(u32::MAX).is_err());
    }

    #[test]
    fn limits_are_read_as_the_kernel_prints_them() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 unlimited            files     \n";
        assert_eq!(open_files(limits), Some((1_024, u64::MAX)));
        assert_eq!(open_files("nothing"), None);
    }
}
