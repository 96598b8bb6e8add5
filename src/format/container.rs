//! What a container engine says of a container (`docker inspect`, `podman inspect`), as far as the
//! gateway inside is concerned: which one it is, what it runs, and what it sees of this host.
//! Facts: Docker Engine 20.10; the fields are the same in Podman's manual.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::release::Release;
use super::standing::Seen;

/// A container, and the OpenClaw in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// The command line of the engine that has it; empty where that was not noted.
    #[serde(default)]
    pub engine: String,
    /// The container's id: another one is another container.
    pub id: String,
    /// The id of its image.
    pub image: String,
    /// What OpenClaw's CLI in it said of itself; `None` when it could not be asked.
    pub release: Option<String>,
    /// The command in it that is OpenClaw's CLI.
    pub cli: Vec<String>,
    /// Directories and files of the host: where they are on the host, and where in it.
    pub mounts: Vec<(PathBuf, PathBuf)>,
}

impl Inside {
    /// What a container is, as far as it was not asked itself.
    #[must_use]
    pub fn of(seen: &Seen) -> Self {
        let mounts = seen.mounts.iter().map(|mount| (mount.host.clone(), mount.inside.clone()));
        Self {
            engine: String::new(),
            id: seen.id.clone(),
            image: seen.image_id.clone(),
            release: None,
            cli: cli_of(&seen.command),
            mounts: mounts.collect(),
        }
    }

    /// Where a path of the container is on the host; `None` for what is the container's own.
    #[must_use]
    pub fn on_host(&self, path: &Path) -> Option<PathBuf> {
        across(&self.mounts, path, |(host, inside)| (inside, host)).map(|(path, _)| path)
    }

    /// Whether a path of the host is seen in the container under the same name.
    #[must_use]
    pub fn sees(&self, path: &Path) -> bool {
        self.on_host(path).is_some_and(|host| host == path)
    }
}

/// Where a path is on the other side of the innermost mount that has it, and that mount; `sides` says
/// from where to where.
pub fn across<'a, M>(
    mounts: &'a [M],
    path: &Path,
    sides: impl Fn(&'a M) -> (&'a PathBuf, &'a PathBuf),
) -> Option<(PathBuf, &'a M)> {
    let found = mounts.iter().filter(|mount| path.starts_with(sides(mount).0));
    let mount = found.max_by_key(|mount| sides(mount).0.components().count())?;
    let (from, to) = sides(mount);
    let rest = path.strip_prefix(from).ok()?;
    // Joined with nothing, a file would become a directory by its name.
    Some((if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) }, mount))
}

/// The CLI is what the container runs as its gateway: a script of Node's, or the program itself.
fn cli_of(words: &[String]) -> Vec<String> {
    let before = words.iter().position(|word| word == "gateway").and_then(|at| words.get(..at));
    let Some((script, rest)) = before.and_then(<[String]>::split_last) else {
        return vec!["openclaw".to_owned()];
    };
    let is_node = |word: &String| word == "node" || word.ends_with("/node");
    let node = rest.iter().rposition(is_node).and_then(|at| rest.get(at..)).unwrap_or_default();
    node.iter().chain([script]).cloned().collect()
}

/// The release in what `openclaw --version` prints: `2026.2.26`, `OpenClaw 2026.9.6 (eb377ac)`.
#[must_use]
pub fn release_in(said: &str) -> Option<Release> {
    said.split_whitespace().find_map(Release::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(command: &str) -> Inside {
        let words: Vec<&str> = command.split(' ').collect();
        let answer = serde_json::json!([{
            "Id": "c0", "Image": "sha256:1", "State": {"Running": true, "Pid": 7}, "Path": words[0],
            "Args": words[1..],
            "Mounts": [
                {"Type": "bind", "Source": "/home/a/claw", "Destination": "/home/node/.openclaw"},
                {"Type": "bind", "Source": "/home/a/m", "Destination": "/home/a/m"},
                {"Type": "volume", "Source": "", "Destination": "/home/node/.openclaw/workspace"},
            ],
        }]);
        Inside::of(&Seen::all(answer.to_string().as_bytes()).unwrap()[0])
    }

    #[test]
    fn the_cli_is_what_the_container_runs_as_its_gateway() {
        for (command, cli) in [
            ("docker-entrypoint.sh node dist/index.js gateway --bind lan", "node dist/index.js"),
            (
                "tini -s -- /usr/bin/node --max-old-space-size=1 x.mjs gateway",
                "/usr/bin/node --max-old-space-size=1 x.mjs",
            ),
            ("openclaw gateway run", "openclaw"),
            ("/bin/sh -c openclaw", "openclaw"),
            ("gateway", "openclaw"),
        ] {
            assert_eq!(parsed(command).cli.join(" "), cli, "{command}");
        }
    }

    #[test]
    fn paths_of_the_container_are_found_on_the_host_where_they_are_mounted() {
        let inside = parsed("openclaw gateway");
        let on_host = |path: &str| inside.on_host(Path::new(path));
        assert_eq!(on_host("/home/node/.openclaw/agents/x"), Some("/home/a/claw/agents/x".into()));
        assert_eq!(on_host("/home/node/.openclawed"), None);
        assert!(inside.sees(Path::new("/home/a/m/x.json")) && !inside.sees(Path::new("/home/a/claw/x")));
    }

    #[test]
    fn a_release_is_found_in_what_its_cli_says() {
        assert_eq!(release_in("OpenClaw 2026.9.6 (eb377ac)\n"), Release::parse("2026.9.6"));
        assert_eq!(release_in("2026.2.26\n"), Release::parse("2026.2.26"));
        assert_eq!(release_in("error: no such command 1.2.3"), None);
    }
}
