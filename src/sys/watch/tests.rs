//! The watcher against real directories: what must wake it, what must not, and what it says.

#![expect(clippy::disallowed_methods, reason = "tests make files of their own")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::*;

/// Longer than any event takes; waited out only by a failing test.
const SOON: Duration = Duration::from_secs(10);

struct World {
    dir: TempDir,
    file: PathBuf,
    watcher: Watcher,
}

impl World {
    /// Watches `file` (relative) in a directory that `prepare` has filled.
    fn new(file: &str, prepare: fn(&Path)) -> Self {
        let dir = TempDir::new().unwrap();
        prepare(dir.path());
        let file = dir.path().join(file);
        let mut watcher = Watcher::new().unwrap();
        watcher.set(std::slice::from_ref(&file));
        Self { dir, file, watcher }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn next(&mut self) -> Hint {
        tokio::time::timeout(SOON, self.watcher.next()).await.expect("no hint came")
    }

    /// Everything that is queued has been taken in and was not worth a hint. The proof that
    /// nothing comes is an event that does come, after it.
    async fn quiet(&mut self) {
        let marker = TempDir::new().unwrap();
        let files: Vec<PathBuf> = vec![self.file.clone(), marker.path().join("marker")];
        self.watcher.set(&files);
        fs::write(&files[1], "x").unwrap();
        assert_eq!(self.next().await, Hint::Dirty(vec![files[1].clone()]));
        self.watcher.set(&files[..1]);
    }

    async fn dirty(&mut self) {
        assert_eq!(self.next().await, Hint::Dirty(vec![self.file.clone()]));
    }

    /// Passes over whatever is queued: the kernel queues in order, so a marker is the last.
    async fn settle(&mut self) {
        let marker = TempDir::new().unwrap();
        let files: Vec<PathBuf> = vec![self.file.clone(), marker.path().join("marker")];
        self.watcher.set(&files);
        loop {
            fs::write(&files[1], "x").unwrap();
            if self.next().await == Hint::Dirty(vec![files[1].clone()]) {
                break;
            }
        }
        self.watcher.set(&files[..1]);
    }

    /// The file is watched: writing it is noticed.
    async fn is_watched(&mut self) {
        self.settle().await;
        fs::write(&self.file, "again").unwrap();
        self.dirty().await;
    }
}

fn replace(path: &Path, text: &str) {
    let temp = path.with_extension("new");
    fs::write(&temp, text).unwrap();
    fs::rename(&temp, path).unwrap();
}

#[tokio::test]
async fn a_write_a_replacement_and_a_removal_are_each_one_hint() {
    let mut world = World::new("file", |dir| fs::write(dir.join("file"), "1").unwrap());
    fs::write(&world.file, "2").unwrap();
    world.dirty().await;
    replace(&world.file, "3");
    world.dirty().await;
    fs::remove_file(&world.file).unwrap();
    world.dirty().await;
    replace(&world.file, "4");
    world.dirty().await;
    fs::remove_file(&world.file).unwrap();
    world.dirty().await;
    fs::hard_link(fs::canonicalize("/proc/self/exe").unwrap(), &world.file)
        .or_else(|_| fs::write(&world.file, "5"))
        .unwrap();
    world.dirty().await;
    world.quiet().await;
}

#[tokio::test]
async fn other_names_in_the_directory_wake_nobody() {
    let mut world = World::new("file", |dir| fs::write(dir.join("file"), "1").unwrap());
    for name in [".credentials.json.tmp.0123abcd", "other", "file.lock"] {
        fs::write(world.at(name), "x").unwrap();
        replace(&world.at(name), "y");
        fs::remove_file(world.at(name)).unwrap();
    }
    fs::create_dir(world.at("directory")).unwrap();
    world.quiet().await;
}

#[tokio::test]
async fn ten_thousand_events_become_one_hint() {
    let mut world = World::new("file", |dir| fs::write(dir.join("file"), "").unwrap());
    for i in 0..4_000 {
        // Three events each, and no two equal neighbours, which the kernel joins by itself.
        replace(&world.file, &i.to_string());
    }
    world.dirty().await;
    world.quiet().await;
}

#[tokio::test]
async fn an_overflow_is_a_rescan() {
    let mut world = World::new("file", |_| ());
    let max: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    if max > 100_000 {
        return; // The table test below covers a host that was tuned beyond reach.
    }
    let (a, b) = (world.at("a"), world.at("b"));
    for _ in 0..=max / 2 {
        fs::write(&a, "").unwrap();
        fs::write(&b, "").unwrap();
    }
    assert_eq!(world.next().await, Hint::RescanAll);
    world.is_watched().await;
}

#[test]
fn every_kind_of_event_is_taken_for_what_it_is() {
    let mut watched = Watched::default();
    let file = PathBuf::from("/d/file");
    watched.names.entry("file".into()).or_default().insert((file.clone(), Role::File));
    let of = |mask, name: Option<&str>, known: bool| {
        let mut batch = Batch::default();
        batch.add(known.then_some(&watched), mask, name.map(OsStr::new));
        (!batch.dirty.is_empty(), batch.renamed, batch.rescan)
    };
    assert_eq!(of(EventMask::Q_OVERFLOW, None, false), (false, false, true));
    for vanished in [EventMask::UNMOUNT, EventMask::IGNORED, EventMask::DELETE_SELF, EventMask::MOVE_SELF] {
        assert_eq!(of(vanished, None, true), (false, false, true), "{vanished:?}");
        assert_eq!(of(vanished, None, false), (false, false, false), "of an old watch: {vanished:?}");
    }
    assert_eq!(of(EventMask::CLOSE_WRITE, Some("file"), true), (true, false, false));
    assert_eq!(of(EventMask::MOVED_TO, Some("file"), true), (true, true, false));
    assert_eq!(of(EventMask::MOVED_TO, Some("file.tmp"), true), (false, false, false));
}

#[tokio::test]
async fn a_directory_that_is_deleted_and_made_again_is_watched_again() {
    let mut world = World::new("dir/file", |dir| fs::create_dir(dir.join("dir")).unwrap());
    fs::write(&world.file, "1").unwrap();
    world.dirty().await;
    fs::remove_dir_all(world.at("dir")).unwrap();
    assert_eq!(world.next().await, Hint::RescanAll);
    world.settle().await;
    fs::create_dir(world.at("dir")).unwrap();
    assert_eq!(world.next().await, Hint::RescanAll);
    world.is_watched().await;
}

#[tokio::test]
async fn missing_parents_are_noticed_as_they_come_one_by_one_or_at_once() {
    let mut world = World::new("a/b/c/file", |_| ());
    for name in ["a", "a/b", "a/b/c"] {
        fs::create_dir(world.at(name)).unwrap();
        assert_eq!(world.next().await, Hint::RescanAll, "{name}");
    }
    world.is_watched().await;

    fs::remove_dir_all(world.at("a")).unwrap();
    world.settle().await;
    fs::create_dir_all(world.at("x/b/c")).unwrap();
    fs::rename(world.at("x"), world.at("a")).unwrap();
    assert_eq!(world.next().await, Hint::RescanAll);
    world.is_watched().await;
}

#[tokio::test]
async fn a_directory_above_that_is_renamed_is_noticed() {
    let mut world = World::new("a/b/file", |dir| fs::create_dir_all(dir.join("a/b")).unwrap());
    fs::rename(world.at("a"), world.at("away")).unwrap();
    assert_eq!(world.next().await, Hint::RescanAll);
    world.settle().await;
    fs::write(world.at("away/b/file"), "not ours any more").unwrap();
    world.quiet().await;
    fs::create_dir_all(world.at("a/b")).unwrap();
    assert_eq!(world.next().await, Hint::RescanAll);
    world.is_watched().await;
}

#[tokio::test]
async fn a_link_that_is_pointed_elsewhere_is_noticed_at_its_end_and_on_the_way() {
    let mut world = World::new("current/link", |dir| {
        for name in ["one", "two"] {
            fs::create_dir(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("real"), name).unwrap();
            symlink("real", dir.join(name).join("link")).unwrap();
        }
        symlink("one", dir.join("current")).unwrap();
    });
    fs::write(world.at("one/real"), "1").unwrap();
    world.dirty().await;
    symlink("two", world.at("next")).unwrap();
    fs::rename(world.at("next"), world.at("current")).unwrap();
    assert_eq!(world.next().await, Hint::RescanAll);
    fs::write(world.at("one/real"), "2").unwrap();
    world.quiet().await;
    replace(&world.at("two/real"), "3");
    world.dirty().await;
    fs::remove_file(world.at("two/link")).unwrap();
    fs::write(world.at("two/link"), "a file now").unwrap();
    assert_eq!(world.next().await, Hint::RescanAll);
    world.is_watched().await;
}

#[tokio::test]
async fn a_ring_of_links_ends_and_its_repair_is_noticed() {
    let mut world = World::new("a", |dir| {
        symlink("b", dir.join("a")).unwrap();
        symlink("a", dir.join("b")).unwrap();
    });
    fs::remove_file(world.at("b")).unwrap();
    assert_eq!(world.next().await, Hint::RescanAll);
    fs::write(world.at("b"), "x").unwrap();
    world.dirty().await;
}

#[tokio::test]
async fn arming_again_for_the_same_files_changes_nothing_and_fewer_files_free_watches() {
    let mut world = World::new("one/file", |dir| {
        fs::create_dir(dir.join("one")).unwrap();
        fs::create_dir(dir.join("two")).unwrap();
    });
    let both = [world.file.clone(), world.at("two/file"), world.at("two/other")];
    let alone = world.watcher.watch_count();
    for _ in 0..3 {
        world.watcher.set(&both);
        assert_eq!(world.watcher.watch_count(), alone + 1);
    }
    fs::write(&both[2], "x").unwrap();
    fs::write(&both[0], "x").unwrap();
    assert_eq!(world.next().await, Hint::Dirty(vec![both[0].clone(), both[2].clone()]));
    world.watcher.set(&both[..1]);
    assert_eq!(world.watcher.watch_count(), alone);
    fs::write(&both[1], "x").unwrap();
    world.quiet().await;
}

#[tokio::test]
async fn two_ways_to_one_file_are_both_told() {
    let mut world = World::new("real/file", |dir| {
        fs::create_dir(dir.join("real")).unwrap();
        symlink("real", dir.join("alias")).unwrap();
    });
    let both = [world.at("alias/file"), world.file.clone()];
    world.watcher.set(&both);
    replace(&world.file, "x");
    assert_eq!(world.next().await, Hint::Dirty(both.to_vec()));
}

#[tokio::test]
async fn a_reached_limit_of_watches_is_told_once_and_the_rest_goes_on() {
    // The limit belongs to a user namespace: this test runs again in one of its own.
    if crate::sys::testing::inner().is_none() {
        let name = "sys::watch::tests::a_reached_limit_of_watches_is_told_once_and_the_rest_goes_on";
        crate::sys::testing::run_in_own_user_namespace(name);
        return;
    }
    let mut world = World::new("one/file", |dir| {
        fs::create_dir(dir.join("one")).unwrap();
        fs::create_dir(dir.join("two")).unwrap();
    });
    world.watcher.set(&[]);
    fs::write("/proc/sys/user/max_inotify_watches", "1").unwrap();
    let both = [world.file.clone(), world.at("two/file")];
    world.watcher.set(&both);
    let lost = world.next().await;
    assert_eq!(lost, Hint::Lost { path: world.at("two"), reason: LostReason::WatchLimit });
    world.watcher.set(&both);
    fs::write(&both[0], "x").unwrap();
    assert_eq!(world.next().await, Hint::Dirty(vec![both[0].clone()]));
    fs::write("/proc/sys/user/max_inotify_instances", "0").unwrap();
    assert_eq!(Watcher::new().unwrap_err(), LostReason::InstanceLimit);
}

/// Runs the calling test again in mounts of its own; true in there.
fn in_own_mounts(name: &str) -> bool {
    if crate::sys::testing::inner().is_some() {
        return true;
    }
    let name = format!("sys::watch::tests::{name}");
    crate::sys::testing::run_in_own_mounts(&name, Path::new(""));
    false
}

fn run(program: &str, arguments: &[&OsStr]) {
    assert!(std::process::Command::new(program).args(arguments).status().unwrap().success());
}

#[tokio::test]
async fn a_single_file_mount_is_watched_on_both_sides_and_its_replacement_outside_is_noticed() {
    if !in_own_mounts("a_single_file_mount_is_watched_on_both_sides_and_its_replacement_outside_is_noticed") {
        return;
    }
    let mut world = World::new("inside/file", |dir| {
        for side in ["inside", "outside"] {
            fs::create_dir(dir.join(side)).unwrap();
            fs::write(dir.join(side).join("file"), "").unwrap();
        }
        let (from, to) = (dir.join("outside/file"), dir.join("inside/file"));
        run("mount", &["--bind".as_ref(), from.as_ref(), to.as_ref()]);
    });
    fs::write(world.at("outside/file"), "from outside").unwrap();
    world.dirty().await;
    fs::write(&world.file, "from inside").unwrap();
    world.dirty().await;
    world.quiet().await;
    // From now on the mount shows a file that has no name any more.
    replace(&world.at("outside/file"), "another file");
    world.dirty().await;
    world.quiet().await;
}

#[tokio::test]
async fn an_unmounted_file_system_is_a_rescan() {
    if !in_own_mounts("an_unmounted_file_system_is_a_rescan") {
        return;
    }
    let mut world = World::new("mount/file", |dir| {
        fs::create_dir(dir.join("mount")).unwrap();
        run("mount", &["-t".as_ref(), "tmpfs".as_ref(), "tmpfs".as_ref(), dir.join("mount").as_ref()]);
    });
    fs::write(&world.file, "1").unwrap();
    world.dirty().await;
    run("umount", &[world.at("mount").as_ref()]);
    assert_eq!(world.next().await, Hint::RescanAll);
    world.is_watched().await;
}
