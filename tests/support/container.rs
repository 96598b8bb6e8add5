//! A real container engine of its own, for what is in a container: Debian's packages, unpacked into
//! the test cache, in a process namespace of its own that ends with the test; and both generations of
//! Compose, whichever of them this Debian has.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::cache;
use super::cli_host::CliHost;
use super::host::until;
use super::nspawn;
use super::run::{Ran, run};

/// The image that [`Engine::image`] makes.
pub const IMAGE: &str = "empty:1";

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

/// The plugin of trixie's package, 2.26: bookworm has the first generation only.
pub fn compose_plugin() -> PathBuf {
    let root = cache::once("compose-plugin", |dir| {
        let mirror = nspawn::host_mirror();
        let mirror = mirror.as_deref().unwrap_or("http://deb.debian.org/debian");
        let source =
            format!("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} trixie main\n");
        let at = |name: &str| dir.join(name).display().to_string();
        std::fs::write(at("trixie.list"), source).unwrap();
        for made in ["lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(at(made)).unwrap();
        }
        for words in [&["update"][..], &["download", "docker-compose"]] {
            let mut apt = Command::new("apt-get");
            apt.args(["-q", "-o", "APT::Sandbox::User=root", "-o", "Dir::Etc::SourceParts=/dev/null"]);
            for (name, value) in [
                ("Dir::Etc::SourceList", at("trixie.list")),
                ("Dir::State::Lists", at("lists")),
                ("Dir::Cache", at("cache")),
            ] {
                apt.args(["-o", &format!("{name}={value}")]);
            }
            run(apt.args(words).current_dir(dir), b"").ok();
        }
        let packages = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let package = packages.filter(|path| path.extension().is_some_and(|e| e == "deb")).last().unwrap();
        run(Command::new("dpkg").arg("-x").arg(package).arg(dir.join("root")), b"").ok();
        for gone in ["lists", "cache"] {
            std::fs::remove_dir_all(dir.join(gone)).unwrap();
        }
    });
    root.join("root/usr/libexec/docker/cli-plugins/docker-compose")
}

/// The runtime of the packages: Debian's default for podman does not run on every layout of control groups.
pub fn runc() -> PathBuf {
    unpacked().join("usr/bin/runc")
}

/// A running engine; everything in it ends when it is dropped.
pub struct Engine {
    child: Option<Child>,
    dir: tempfile::TempDir,
    /// Arguments before `dockerd`, and further options.
    before: Vec<String>,
    more: Vec<String>,
    /// The search path that finds its programs first.
    pub path: String,
}

impl Engine {
    /// Starts one in the network of that host. Needs root.
    pub fn start(host: &CliHost) -> Self {
        Self::start_with(host, false)
    }

    /// The same; where user ids are mapped, 0 in a container is 200000 of the host.
    pub fn start_with(host: &CliHost, is_mapped: bool) -> Self {
        let root = unpacked();
        let path = format!("{0}/usr/bin:{0}/usr/sbin:/usr/bin:/bin:/usr/sbin:/sbin", root.display());
        let dir = tempfile::tempdir().unwrap();
        let (mut before, mut more) = (Vec::new(), Vec::new());
        if is_mapped {
            let ids = dir.path().join("ids");
            std::fs::write(&ids, "daemon:200000:65536\n").unwrap();
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
            let script =
                "for file in subuid subgid; do mount --bind \"$0\" /etc/$file || exit; done; exec \"$@\"";
            before = ["sh", "-c", script, &ids.display().to_string()].map(str::to_owned).into();
            more = vec!["--userns-remap=daemon".to_owned()];
        }
        let mut engine = Self { child: None, dir, before, more, path };
        engine.resume(host);
        engine
    }

    /// Starts it again after it was stopped, with all that it had.
    pub fn resume(&mut self, host: &CliHost) {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
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
        command
            .args(&self.before)
            .args(["dockerd", "--iptables=false", "--ip-masq=false", "--bridge=none"])
            .args(&self.more);
        command.args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")]);
        command.args(["--host", &format!("unix://{}", at("socket"))]);
        command.env("PATH", &self.path).env_remove("HTTPS_PROXY");
        let log = std::fs::File::create(at("log")).unwrap();
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        until("the engine answers", 30, || self.docker(host, &["version"]).code == Some(0));
    }

    /// Ends it with everything that runs in it; what it had on disk stays.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_file(self.dir.path().join("pid"));
    }

    /// Has a command see this engine.
    pub fn show(&self, command: &mut Command) {
        command.env("PATH", &self.path).env("DOCKER_HOST", self.socket());
    }

    /// A program in the process and mount namespaces of the engine, as on the engine's own host.
    pub fn beside(&self, host: &CliHost, program: &Path) -> Command {
        let outer = self.child.as_ref().unwrap().id();
        let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap();
        let mut command = host.command("/usr/bin/nsenter");
        command.args(["-t", children.trim(), "--mount", "--pid"]).arg(program);
        self.show(&mut command);
        command
    }

    /// For `DOCKER_HOST`.
    pub fn socket(&self) -> String {
        format!("unix://{}", self.dir.path().join("socket").display())
    }

    /// Runs the engine's command line.
    pub fn docker(&self, host: &CliHost, arguments: &[&str]) -> Ran {
        let mut command = host.command("docker");
        self.show(&mut command);
        run(command.args(arguments), b"")
    }

    /// Makes an image of nothing but places for mounts; what runs in it is the system's, in `/usr`.
    pub fn image(&self, host: &CliHost) {
        self.docker(host, &["import", &self.packed_image().display().to_string(), IMAGE]).ok();
    }

    /// That image as an archive.
    pub fn packed_image(&self) -> PathBuf {
        let image = self.dir.path().join("image");
        for directory in ["usr", "opt", "etc", "proc", "sys", "dev", "tmp", "run"] {
            std::fs::create_dir_all(image.join(directory)).unwrap();
        }
        for link in ["bin", "sbin", "lib", "lib64"].iter().filter(|link| !image.join(link).is_symlink()) {
            std::os::unix::fs::symlink(format!("usr/{link}"), image.join(link)).unwrap();
        }
        let packed = self.dir.path().join("image.tar");
        run(Command::new("tar").arg("-C").arg(&image).arg("-cf").arg(&packed).arg("."), b"").ok();
        packed
    }

    /// A container that sleeps, with the home of that host, its network, the system's programs, the
    /// CLI in `cli` as `claude`, and one variable more.
    pub fn sleeper(&self, host: &CliHost, name: &str, cli: &Path, variable: &str) {
        self.image(host);
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
        arguments.extend([IMAGE, "/usr/bin/sleep", "infinity"]);
        self.docker(host, &arguments).ok();
    }

    /// Ends a container, and what is kept of it in the control groups.
    pub fn remove(&self, host: &CliHost, name: &str) {
        self.docker(host, &["rm", "--force", name]).ok();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}
