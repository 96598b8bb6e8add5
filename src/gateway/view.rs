//! What a gateway's containers see of what its sinks hold: files by a digest that is made inside, as the
//! user of the container; variables as they were created with. No token leaves a container, and nothing
//! is written into one.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Means;
use super::engine::{self, Engine, Found, Trouble};
use crate::base::code::{Code, Finding, Severity};
use crate::base::secret::Secret;
use crate::config::settings::GatewayKind;
use crate::core::reach::{self, Consumer, IdMap, Reader};
use crate::format::dotenv;
use crate::format::standing::{self, Held, Mounted, Seen, Standing};
use crate::sys::atomic_file::{self, Digest, FileState};

/// What shows whether a container has what a sink holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The target, as it is named in findings.
    pub target: String,
    /// The file on this host.
    pub path: PathBuf,
    /// The variable of that file, where it is one of variables.
    pub variable: Option<String>,
    /// The file is made with an owner and a mode of its `[[sink]]`.
    pub has_owner: bool,
}

/// Everything that a gateway's containers do not see as its sinks have it. Those that are stopped see no
/// file, and start with the variables that they have; what is not theirs to see is not asked about.
///
/// # Errors
/// When the engine cannot be asked.
pub async fn check(
    kind: &GatewayKind,
    witnesses: &[Witness],
    means: &Means,
) -> Result<Vec<Finding>, Trouble> {
    let mut findings = Vec::new();
    if witnesses.is_empty() {
        return Ok(findings);
    }
    let found = engine::find(kind, means).await?;
    for witness in witnesses {
        let mut is_mounted = false;
        for seen in found.seen.iter().filter(|seen| seen.standing != Standing::Stopped) {
            let path = std::fs::canonicalize(&witness.path).unwrap_or_else(|_| witness.path.clone());
            let Some((inside, mount)) = seen.place_of(&path) else { continue };
            is_mounted = true;
            findings.extend(of_file(found.engine, seen, witness, (&path, &inside), mount, means).await);
        }
        if !is_mounted && !found.seen.is_empty() {
            findings.extend(of_variable(&found, witness, kind));
        }
    }
    Ok(findings)
}

/// True when everything that the sinks of a gateway hold are variables, and its containers, of which one
/// runs at least, were created with them: there is nothing to do.
#[must_use]
pub fn holds_all(found: &Found, witnesses: &[Witness]) -> bool {
    let is_held = |witness: &Witness| {
        let is_file = found.seen.iter().any(|seen| seen.place_of(&witness.path).is_some());
        !is_file && held(found, witness) == Some(Held::Current)
    };
    let runs = found.seen.iter().any(|seen| seen.standing != Standing::Stopped);
    runs && !witnesses.is_empty() && witnesses.iter().all(is_held)
}

fn held(found: &Found, witness: &Witness) -> Option<Held> {
    let variable = witness.variable.as_ref()?;
    standing::held(found.answer.expose(), variable, &wanted(witness)?)
}

/// The value that the file has for its variable.
fn wanted(witness: &Witness) -> Option<Secret> {
    let FileState::Present(file) = atomic_file::observe(&witness.path) else { return None };
    dotenv::held(file.document.expose(), witness.variable.as_ref()?).ok()?
}

fn of_variable(found: &Found, witness: &Witness, kind: &GatewayKind) -> Option<Finding> {
    let variable = witness.variable.as_ref()?;
    let file = witness.path.display();
    let (why, next) = match (held(found, witness)?, kind) {
        (Held::Current, _) => return None,
        (Held::Other, GatewayKind::Compose { .. }) => (
            format!("its container was created with another {variable} than {file} has"),
            format!("make the service read {file} (env_file), and nothing else set {variable}"),
        ),
        (Held::Other, _) => (
            format!("its container keeps the {variable} that it was created with, whatever {file} says"),
            "create it anew, or name its project: compose = { dir = \"…\", service = \"…\" }".to_owned(),
        ),
        (Held::Nowhere, _) => (
            format!("no variable of its container holds what {file} has as {variable}"),
            format!("name {file} in env_file of the service, or {variable} in its environment"),
        ),
    };
    Some(finding(Code::NotConverged, witness, why, next))
}

async fn of_file(
    engine: Engine,
    seen: &Seen,
    witness: &Witness,
    (path, inside): (&Path, &Path),
    mount: &Mounted,
    means: &Means,
) -> Option<Finding> {
    let place = inside.display().to_string();
    let name = &seen.name;
    let words = ["exec", "--env", "LC_ALL=C", &seen.id, "sha256sum", &place];
    let finished = engine::run(engine, &words, means).await.ok()?;
    let said = String::from_utf8_lossy(finished.stderr.bytes.expose()).into_owned();
    let shown = path.display();
    if finished.succeeded() {
        let printed = Digest::parse(finished.stdout.bytes.expose())?;
        let FileState::Present(file) = atomic_file::observe(path) else { return None };
        return (printed != Digest::of(&file.document))
            .then(|| stale(witness, mount, format!("{name} sees an older {place} than {shown} is"), name));
    }
    if said.contains("Permission denied") {
        let file = std::fs::metadata(path).ok()?;
        let consumer = consumer(seen, mount);
        let file = reach::Held { uid: file.uid(), gid: file.gid(), mode: file.mode() & 0o7777 };
        let denied = reach::denied(&shown.to_string(), file, &consumer, witness.has_owner);
        let why = format!("{name} cannot read {place}, which is {shown}: {}", denied.why);
        return Some(finding(Code::ConsumerDenied, witness, why, denied.next));
    }
    // Anything else is no word about the file: there may be no such program in the container.
    said.contains("No such file or directory")
        .then(|| stale(witness, mount, format!("{name} has no {place}, where {shown} should be"), name))
}

fn stale(witness: &Witness, mount: &Mounted, what: String, name: &str) -> Finding {
    // A mount of a file keeps the inode that was there when the container started.
    let is_single = mount.host == std::fs::canonicalize(&witness.path).unwrap_or_default();
    let (why, next) = if is_single {
        let directory = mount.host.parent().unwrap_or(&mount.host).display();
        (
            format!("{what}: the file alone is mounted, and was replaced since the container started"),
            format!("mount its directory instead ({directory}), then create {name} anew"),
        )
    } else {
        (
            format!("{what}: the mounted directory was replaced since the container started"),
            format!("restart {name}"),
        )
    };
    finding(Code::StaleInode, witness, why, next)
}

/// What can be seen of who reads in a container of this host.
fn consumer(seen: &Seen, mount: &Mounted) -> Consumer {
    let of_process = |file: &str| {
        let text = || std::fs::read_to_string(format!("/proc/{}/{file}", seen.pid)).ok();
        if seen.pid == 0 { None } else { text() }
    };
    // The number may be of another host's process: that one is in no control group of that name.
    let is_here = of_process("cgroup").is_some_and(|groups| groups.contains(&seen.id));
    let of_process = |file: &str| if is_here { of_process(file) } else { None };
    Consumer {
        reader: of_process("status").and_then(|status| Reader::parse(&status)),
        ids: IdMap::parse(&of_process("uid_map").unwrap_or_default()),
        label: seen.label.clone(),
        is_labelled: mount.is_labelled,
    }
}

fn finding(code: Code, witness: &Witness, summary: String, next: String) -> Finding {
    Finding::new(code, Severity::Warning, witness.target.clone(), summary).with_next(next)
}
