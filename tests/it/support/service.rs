//! The real binary as a process of its own: it can be killed.

use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::process::{Child, Command};

use super::app::SECRET;

/// A running `backbeat serve`.
pub struct Service {
    pub base: String,
    child: Child,
}

impl Service {
    /// Starts on a free port and waits until it is ready.
    pub async fn start(url: &str, settings: &[(&str, &str)]) -> Self {
        // Another process may take the port between our look and the service's: then another one.
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let child = command(url)
                .arg("serve")
                .env("PORT", port.to_string())
                .envs(settings.iter().copied())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut service = Self { base: format!("http://127.0.0.1:{port}"), child };
            if service.becomes_ready().await {
                return service;
            }
        }
        panic!("the service does not start on {url}");
    }

    /// Whether it got ready, and did not end instead.
    async fn becomes_ready(&mut self) -> bool {
        let client = reqwest::Client::new();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let ready = client.get(format!("{}/readyz", self.base)).send().await;
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if ready.is_ok_and(|answer| answer.status() == 200) {
                return true;
            }
            assert!(std::time::Instant::now() < deadline, "the service is not ready within a minute");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it as `kill -9` does.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        let id = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// How it ends.
    pub async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await.expect("the service ends").unwrap()
    }

    /// The most memory that was ever resident, in KiB; `None` where the system does not tell.
    pub fn peak_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

/// The binary with the environment that it needs, and nothing else of ours.
fn command(url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backbeat"));
    command
        .env_clear()
        .env("DATABASE_URL", url)
        .env("JWT_SECRET", SECRET)
        .env("LOG_LEVEL", "error")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs `backbeat verify`; everything must agree.
pub async fn verify(url: &str) {
    verify_text(url).await;
}

/// The same, with what it says.
pub async fn verify_text(url: &str) -> String {
    let output = command(url).arg("verify").output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
