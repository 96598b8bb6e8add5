//! A real container engine of its own, for the CLI in a container: Debian's packages, unpacked into
//! the test cache, in a process namespace of its own that ends with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::cache;
use super::cli_host::CliHost;
use super::host::until;
use super::run::run;

const PACKAGES: [&str; 4] = ["docker.io", "containerd", "runc", "libdevmapper1.02.1"];

/// The directory into which the packages were unpacked.
fn unpacked() -> PathBuf {
    cache::once("docker-engine", |dir| {
        let mut download = Command::new("apt-get");
        download.args(["-o", "APT::Sandbox::User=root", "download"]).args(PACKAGES).current_dir(dir);
        run(&mut download, b"").ok();
        let packages = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        for package in packages.filter(|path| path.extension().is_some_and(|e| e == "deb")) {
            run(Command::new("dpkg").arg("-x").arg(&package).arg(dir.join("root")), b"").ok();
            std::fs::remove_file(package).unwrap();
        }
    })
    .join("root")
}

/// A running engine; everything in it ends when it is dropped.
pub struct Engine {
    child: Child,
    dir: tempfile::TempDir,
    /// The search path that finds its programs first.
    pub path: String,
}

impl Engine {
    /// Starts one in the network of that host. Needs root.
    pub fn start(host: &CliHost) -> Self {
        let root = unpacked();
        let path = format!("{0}/usr/bin:{0}/usr/sbin:/usr/bin:/bin:/usr/sbin:/sbin", root.display());
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let mut command = host.command("/usr/bin/unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]);
        command.args(["dockerd", "--iptables=false", "--ip-masq=false", "--bridge=none"]);
        command.args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")]);
        command.args(["--host", &format!("unix://{}", at("socket"))]);
        command.env("PATH", &path).env_remove("HTTPS_PROXY");
        let log = std::fs::File::create(at("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let engine = Self { child, dir, path };
        until("the engine answers", 30, || engine.docker(host, &["version"], b"").code == Some(0));
        engine
    }

    /// For `DOCKER_HOST`.
    pub fn socket(&self) -> String {
        format!("unix://{}", self.dir.path().join("socket").display())
    }

    fn docker(&self, host: &CliHost, arguments: &[&str], input: &[u8]) -> super::run::Ran {
        let mut command = host.command("docker");
        run(command.env("PATH", &self.path).env("DOCKER_HOST", self.socket()).args(arguments), input)
    }

    /// A container that sleeps, with the home of that host, its network, the system's programs, the
    /// CLI in `cli` as `claude`, and one variable more.
    pub fn sleeper(&self, host: &CliHost, name: &str, cli: &Path, variable: &str) {
        let image = self.dir.path().join("image");
        for directory in ["usr", "opt", "etc", "proc", "sys", "dev", "tmp", "run"] {
            std::fs::create_dir_all(image.join(directory)).unwrap();
        }
        for link in ["bin", "sbin", "lib", "lib64"].iter().filter(|link| !image.join(link).is_symlink()) {
            std::os::unix::fs::symlink(format!("usr/{link}"), image.join(link)).unwrap();
        }
        let mut tar = Command::new("tar");
        let packed = tar.arg("-C").arg(&image).args(["-c", "."]).output().unwrap();
        assert!(packed.status.success());
        self.docker(host, &["import", "-", "empty:1"], &packed.stdout).ok();
        let home = format!("{}:/home/alice", host.home().display());
        let cli = format!("{}:/opt:ro", cli.display());
        let (ca, proxy) = (&host.provider.ca, host.provider.url());
        let volumes = ["/usr:/usr:ro", &format!("{ca}:{ca}:ro"), &home, &cli];
        let variables = [
            "HOME=/home/alice",
            "PATH=/opt:/usr/bin:/bin",
            &format!("HTTPS_PROXY={proxy}"),
            &format!("NODE_EXTRA_CA_CERTS={ca}"),
            variable,
        ];
        let mut arguments = vec!["run", "--detach", "--network", "host", "--name", name];
        arguments.extend(volumes.iter().flat_map(|volume| ["--volume", *volume]));
        arguments.extend(variables.iter().flat_map(|variable| ["--env", *variable]));
        arguments.extend(["empty:1", "/usr/bin/sleep", "infinity"]);
        self.docker(host, &arguments, b"").ok();
    }

    /// Ends a container, and what is kept of it in the control groups.
    pub fn remove(&self, host: &CliHost, name: &str) {
        self.docker(host, &["rm", "--force", name], b"").ok();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
