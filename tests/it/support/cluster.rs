//! A PostgreSQL of a test's own, to be stopped and started.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use super::left_out;

/// A running server with an empty database `postgres`; it is gone when the test is.
pub struct Cluster {
    pub url: String,
    directory: tempfile::TempDir,
    programs: PathBuf,
    /// Whom to run as: PostgreSQL refuses to run as root.
    user: Option<String>,
    port: u16,
}

impl Cluster {
    /// `None`, said loudly, where PostgreSQL's programs are not there.
    pub fn start(what: &str) -> Option<Self> {
        let Some(programs) = std::env::var_os("BACKBEAT_TEST_PG_BIN").map(PathBuf::from).or_else(find_programs) else {
            left_out(&format!("{what}; set BACKBEAT_TEST_PG_BIN to where initdb and pg_ctl are (tests/run does)"));
            return None;
        };
        let user = std::env::var("BACKBEAT_TEST_PG_USER").ok().or_else(|| is_root().then(|| "postgres".to_owned()));
        let user = user.filter(|user| !user.is_empty());
        let directory = tempfile::Builder::new().prefix("backbeat-cluster-").tempdir().unwrap();
        if let Some(user) = &user {
            succeed(Command::new("chown").arg(user).arg(directory.path()));
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        let cluster = Self { url, directory, programs, user, port };
        let data = cluster.data();
        succeed(
            cluster
                .program("initdb")
                .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "-D"])
                .arg(data),
        );
        cluster.start_again();
        Some(cluster)
    }

    pub fn start_again(&self) {
        // A server that dies at once needs no disk to remember what it committed: the system's memory does.
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c full_page_writes=off",
            self.port
        );
        let log = self.directory.path().join("data/log");
        succeed(
            self.program("pg_ctl")
                .args(["-w", "-t", "60", "-o", &options, "-l"])
                .arg(log)
                .arg("-D")
                .arg(self.data())
                .arg("start"),
        );
    }

    /// Ends the server without any farewell to its clients.
    pub fn stop_at_once(&self) {
        succeed(self.program("pg_ctl").args(["-w", "-m", "immediate", "-D"]).arg(self.data()).arg("stop"));
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = match &self.user {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(self.directory.path());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = self.program("pg_ctl");
        stop.args(["-w", "-m", "immediate", "-D"]).arg(self.data()).arg("stop");
        let _ = stop.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn find_programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let directories = std::env::split_paths(&path);
    let directories = directories.filter(|directory| directory.join("initdb").exists());
    directories.into_iter().find(|directory| directory.join("pg_ctl").exists())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}

/// Runs a command that must succeed. Nothing of a server that it starts is waited for.
fn succeed(command: &mut Command) {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?} ended with {status}");
}
