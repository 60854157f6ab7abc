//! `backbeat healthcheck`

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use super::Failure;
use crate::config::{self, KeyNeed};

/// Ask the server on this machine whether it is ready; the exit code says so.
///
/// For containers, whose image has no curl.
#[derive(Debug, clap::Args)]
pub struct HealthcheckArguments {}

pub fn run(config: Option<&Path>, _: HealthcheckArguments) -> Result<ExitCode, Failure> {
    let settings = config::load(config, KeyNeed::Optional)?;
    let host = if settings.host.is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { settings.host };
    let timeout = Duration::from_secs(3);
    let address = SocketAddr::new(host, settings.port);
    let mut stream = TcpStream::connect_timeout(&address, timeout)
        .map_err(|error| Failure(format!("nothing answers at {address}: {error}")))?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.lines().next().unwrap_or_default();
    if status.contains(" 200 ") {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure(format!("not ready: {status}")))
}
