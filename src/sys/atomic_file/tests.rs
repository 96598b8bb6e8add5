//! The promises of the file writer, on real files.

#![expect(clippy::disallowed_methods, reason = "tests make files of their own")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::ExitStatusExt as _;

use nix::unistd::{geteuid, mkfifo};
use tempfile::TempDir;

use super::*;
use crate::base::time::Timestamp;
use crate::sys::{clock, testing};

const OLD: &str = "{\"old\":\"canary-one\"}\n";
const NEW: &str = "{\"new\":\"canary-two, and longer than the old one\"}\n";

fn document(text: &str) -> Document {
    Document::new(text.as_bytes().to_vec())
}

fn content(text: &str) -> Expected {
    Expected::Content(Digest::of(&document(text)))
}

fn stage_new(path: &Path, expected: Expected) -> Result<Staged, WriteError> {
    stage(path, &document(NEW), expected, Policy::default())
}

fn write(path: &Path, expected: Expected) -> Result<Committed, WriteError> {
    let committed = stage_new(path, expected)?.commit()?;
    sync_directories(std::slice::from_ref(&committed))?;
    Ok(committed)
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn present(path: &Path) -> Present {
    match observe(path) {
        FileState::Present(present) => present,
        other => panic!("{other:?}"),
    }
}

fn unreadable(path: &Path) -> UnreadableReason {
    match observe(path) {
        FileState::Unreadable { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_file_is_0600_and_an_existing_one_keeps_its_mode() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    let committed = write(&path, Expected::Absent).unwrap();
    assert_eq!(mode_of(&path), 0o600);
    assert_eq!(committed.content, Digest::of(&document(NEW)));
    assert!(!committed.in_place);

    fs::write(&path, OLD).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let staged = stage_new(&path, content(OLD)).unwrap();
    assert_eq!(mode_of(&dir.path().join(&staged.temp)), 0o644, "before the rename");
    staged.commit().unwrap();
    assert_eq!((mode_of(&path), fs::read_to_string(&path).unwrap().as_str()), (0o644, NEW));
    assert_eq!(names(dir.path()), ["file"]);
}

#[test]
fn an_existing_target_keeps_its_owner_and_a_policy_wins_over_it() {
    if !geteuid().is_root() {
        return; // Only root may give files away.
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, OLD).unwrap();
    chown(&path, Some(4321), Some(1234)).unwrap();
    write(&path, content(OLD)).unwrap();
    let stat = present(&path);
    assert_eq!((stat.uid, stat.gid), (4321, 1234));

    let policy = Policy { mode: Some(0o640), owner: Some(77), group: Some(88), ..Policy::default() };
    stage(&path, &document(OLD), content(NEW), policy).unwrap().commit().unwrap();
    let stat = present(&path);
    assert_eq!((stat.uid, stat.gid, stat.mode), (77, 88, 0o640));
}

#[test]
fn a_link_keeps_pointing_and_is_resolved_against_its_own_directory() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("links/deep")).unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    let real = dir.path().join("real/file");
    fs::write(&real, OLD).unwrap();
    let link = dir.path().join("links/deep/link");
    symlink("../../real/file", &link).unwrap();
    symlink("links", dir.path().join("alias")).unwrap();
    let path = dir.path().join("alias/deep/link");

    let seen = present(&path);
    assert!(seen.is_symlink);
    assert_eq!(seen.resolved, real.canonicalize().unwrap());
    let committed = write(&path, content(OLD)).unwrap();
    assert_eq!(committed.resolved, real.canonicalize().unwrap());
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap(), NEW);
    assert_eq!(
        (names(&dir.path().join("real")), names(&dir.path().join("links/deep"))),
        (vec!["file".into()], vec!["link".into()])
    );
}

#[test]
fn a_dangling_link_is_an_absent_file_and_is_created_where_it_points() {
    let dir = TempDir::new().unwrap();
    let base = dir.path().canonicalize().unwrap();
    let link = base.join("link");
    symlink("there", &link).unwrap();
    match observe(&link) {
        FileState::Absent { parent: ParentState::Present, resolved, is_symlink: true } => {
            assert_eq!(resolved, base.join("there"));
        }
        other => panic!("{other:?}"),
    }
    write(&link, Expected::Absent).unwrap();
    assert!(link.is_symlink() && base.join("there").is_file());

    let lost = base.join("lost");
    symlink("no/such/file", &lost).unwrap();
    match observe(&lost) {
        FileState::Absent { parent: ParentState::Missing { nearest }, resolved, is_symlink: true } => {
            assert_eq!((nearest, resolved), (base.clone(), base.join("no/such/file")));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_parent_is_told_and_never_created() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("no/such/file");
    match observe(&path) {
        FileState::Absent { parent: ParentState::Missing { nearest }, .. } => assert_eq!(nearest, dir.path()),
        other => panic!("{other:?}"),
    }
    let error = stage_new(&path, Expected::Absent).unwrap_err();
    assert_eq!(error.kind, WriteErrorKind::ParentMissing);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn pipes_devices_directories_loops_and_giants_are_unreadable_without_blocking() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
    fs::create_dir(at("dir")).unwrap();
    symlink("b", at("a")).unwrap();
    symlink("a", at("b")).unwrap();
    symlink("/dev/zero", at("zero")).unwrap();
    File::create(at("giant")).unwrap().set_len(MAX_LEN + 1).unwrap();
    for (name, reason) in [
        ("pipe", UnreadableReason::NotRegular),
        ("dir", UnreadableReason::NotRegular),
        ("zero", UnreadableReason::NotRegular),
        ("a", UnreadableReason::Loop),
        ("giant", UnreadableReason::TooLarge),
        ("giant/below", UnreadableReason::NotRegular),
    ] {
        assert_eq!(unreadable(&at(name)), reason, "{name}");
        assert_eq!(observe(&at(name)).expected(), None, "{name}");
    }
    let error = stage_new(&at("pipe"), content(OLD)).unwrap_err();
    assert_eq!(error.kind, WriteErrorKind::NotRegular);
    File::create(at("most")).unwrap().set_len(MAX_LEN).unwrap();
    assert_eq!(present(&at("most")).document.len() as u64, MAX_LEN);
}

#[test]
fn a_target_that_changed_between_stage_and_commit_is_not_overwritten() {
    type Change = fn(&Path);
    let changes: &[(&str, Expected, Change)] = &[
        ("written", content(OLD), |dir| fs::write(dir.join("file"), "theirs").unwrap()),
        ("removed", content(OLD), |dir| fs::remove_file(dir.join("file")).unwrap()),
        ("created", Expected::Absent, |dir| fs::write(dir.join("file"), "theirs").unwrap()),
        ("linked", content(OLD), |dir| {
            fs::rename(dir.join("file"), dir.join("moved")).unwrap();
            symlink("moved", dir.join("file")).unwrap();
        }),
        ("exchanged", content(OLD), |dir| {
            fs::rename(dir, dir.with_extension("away")).unwrap();
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("file"), OLD).unwrap();
        }),
        ("redirected", content(OLD), |dir| {
            let away = dir.with_extension("away");
            fs::rename(dir, &away).unwrap();
            let other = dir.with_extension("other");
            fs::create_dir(&other).unwrap();
            fs::write(other.join("file"), OLD).unwrap();
            symlink(&other, dir).unwrap();
        }),
    ];
    for (name, expected, change) in changes {
        let top = TempDir::new().unwrap();
        let dir = top.path().join("dir");
        fs::create_dir(&dir).unwrap();
        if *expected != Expected::Absent {
            fs::write(dir.join("file"), OLD).unwrap();
        }
        let staged = stage_new(&dir.join("file"), *expected).unwrap();
        change(&dir);
        assert_eq!(staged.commit().unwrap_err().kind, WriteErrorKind::Changed, "{name}");
        let everything = format!("{:?}", fs::read(dir.join("file")));
        assert!(!everything.contains("canary-two"), "{name}");
        let left = names(&dir);
        assert!(left.iter().all(|n| !n.starts_with(".tokensink")), "{name}: {left:?}");
    }
}

#[test]
fn a_target_that_already_differs_is_refused_before_anything_is_written() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    assert_eq!(stage_new(&path, content(OLD)).unwrap_err().kind, WriteErrorKind::Changed);
    fs::write(&path, OLD).unwrap();
    assert_eq!(stage_new(&path, Expected::Absent).unwrap_err().kind, WriteErrorKind::Changed);
    let empty = stage(&path, &document(""), content(OLD), Policy::default()).unwrap_err();
    assert_eq!(empty.kind, WriteErrorKind::Empty);
    assert_eq!(names(dir.path()), ["file"]);
}

#[test]
fn an_uncommitted_file_is_removed_and_a_long_name_fits() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("n".repeat(255));
    let staged = stage_new(&path, Expected::Absent).unwrap();
    assert_eq!(names(dir.path()).len(), 1);
    drop(staged);
    assert!(names(dir.path()).is_empty());
    write(&path, Expected::Absent).unwrap();
    assert_eq!(names(dir.path()).len(), 1);
}

#[test]
fn errors_and_debug_forms_show_no_content() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, OLD).unwrap();
    let staged = stage_new(&path, content(OLD)).unwrap();
    let shown = format!("{staged:?} {:?}", observe(&path));
    fs::write(&path, "canary-three").unwrap();
    let error = staged.commit().unwrap_err();
    let shown = format!("{shown} {error} {error:?}");
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn every_directory_is_synced_once_and_a_vanished_one_is_told() {
    let dir = TempDir::new().unwrap();
    let sub = dir.path().join("sub");
    fs::create_dir(&sub).unwrap();
    let commit = |path: &Path| stage_new(path, Expected::Absent).unwrap().commit().unwrap();
    let all = [commit(&dir.path().join("a")), commit(&dir.path().join("b")), commit(&sub.join("c"))];
    sync_directories(&all).unwrap();
    fs::remove_dir_all(&sub).unwrap();
    assert_eq!(sync_directories(&all).unwrap_err().kind, WriteErrorKind::Changed);
}

#[test]
fn a_thousand_staged_files_hold_no_descriptors() {
    let dir = TempDir::new().unwrap();
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let staged: Vec<Staged> =
        (0..1000).map(|i| stage_new(&dir.path().join(i.to_string()), Expected::Absent).unwrap()).collect();
    // Other tests run beside this one and open a few of their own.
    assert!(open() < before + 100);
    drop(staged);
    assert!(names(dir.path()).is_empty());
}

const NAME: &str = "sys::atomic_file::tests::";

#[test]
fn a_crash_at_any_point_leaves_the_old_or_the_new_file_and_no_temp_for_long() {
    if let Some(path) = testing::inner() {
        let _ = write(Path::new(&path), content(OLD));
        return;
    }
    let name = format!("{NAME}a_crash_at_any_point_leaves_the_old_or_the_new_file_and_no_temp_for_long");
    for (point, expected) in [
        ("stage-created", OLD),
        ("stage-written", OLD),
        ("stage-synced", OLD),
        ("before-rename", OLD),
        ("after-rename", NEW),
    ] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, OLD).unwrap();
        let status = testing::run_until(&name, &path, point);
        assert_eq!(status.signal(), Some(9), "{point}");
        assert_eq!(fs::read_to_string(&path).unwrap(), expected, "{point}");
        let left = usize::from(point != "after-rename");
        assert_eq!(names(dir.path()).len(), 1 + left, "{point}");
        let removed =
            remove_stale_temps(dir.path(), std::time::Duration::from_secs(3600), clock::now()).unwrap();
        assert_eq!(removed.len(), left, "{point}");
        assert_eq!(names(dir.path()), ["file"], "{point}");
    }
}

#[test]
fn temps_of_the_living_of_the_unknown_and_of_others_are_kept() {
    let dir = TempDir::new().unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let staged = stage_new(&dir.path().join("file"), Expected::Absent).unwrap();
    let foreign = [
        ".tokensink.file.tmp",
        ".tokensink..0-0-1-1-00000000.tmp",
        ".tokensink.file.0-0-1-1-0000000g.tmp",
        ".credentials.json.tmp.0123abcd",
        "tokensink.file.0-0-1-1-00000000.tmp",
    ];
    for name in foreign {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    // Another boot: only its age can tell.
    let unknown = dir.path().join(".tokensink.file.0123abcd-4026531836-1-1-00000000.tmp");
    fs::write(&unknown, "x").unwrap();
    symlink("file", dir.path().join(".tokensink.file.0123abcd-4026531836-1-1-00000001.tmp")).unwrap();
    assert!(remove_stale_temps(dir.path(), hour, clock::now()).unwrap().is_empty());
    let later: Timestamp = clock::now().after(2 * hour);
    assert_eq!(remove_stale_temps(dir.path(), hour, later).unwrap(), [unknown]);
    assert!(dir.path().join(&staged.temp).is_file());
    staged.commit().unwrap();
    assert!(remove_stale_temps(&dir.path().join("gone"), hour, later).unwrap().is_empty());
}

#[test]
fn a_copy_of_our_own_broken_rewrite_completes_the_file_and_that_of_another_name_does_not() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    let torn = [&NEW.as_bytes()[..12], &OLD.as_bytes()[12..]].concat();
    let copy_of = |name: &str| temp::copy_name(&temp::name_for(name.as_ref()).unwrap());
    let leave = |name: &str| {
        let copy = copy_of(name);
        fs::write(dir.path().join(temp::before_name(&copy)), OLD).unwrap();
        fs::write(dir.path().join(copy), NEW).unwrap();
    };
    leave("file");
    leave("file.other");
    fs::write(&path, &torn).unwrap();
    assert_eq!(recover(&path, &mut LeftNames::default()).unwrap(), Recovery::Completed);
    assert_eq!(fs::read_to_string(&path).unwrap(), NEW);
    assert_eq!(names(dir.path()).len(), 3);
    assert_eq!(recover(&path, &mut LeftNames::default()).unwrap(), Recovery::Nothing);
    // What is whole, or is of somebody else, stays: whatever was torn is not it.
    for whole in [OLD, NEW, "{torn by others", "", &NEW[..20]] {
        leave("file");
        fs::write(&path, whole).unwrap();
        assert_eq!(recover(&path, &mut LeftNames::default()).unwrap(), Recovery::Discarded, "{whole}");
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names(dir.path()).len()), (whole, 3));
    }
    // Room was made, nothing was written; and a copy with nothing to compare with decides nothing.
    leave("file");
    fs::write(&path, [OLD.as_bytes(), &[0; 9]].concat()).unwrap();
    assert_eq!(recover(&path, &mut LeftNames::default()).unwrap(), Recovery::Completed);
    fs::write(dir.path().join(copy_of("file")), NEW).unwrap();
    fs::write(&path, &torn).unwrap();
    assert_eq!(recover(&path, &mut LeftNames::default()).unwrap(), Recovery::Discarded);
    assert_eq!(fs::read(&path).unwrap(), torn);
}

/// A directory for mounts, and `mount` itself.
fn mount(arguments: &[&std::ffi::OsStr]) {
    assert!(std::process::Command::new("mount").args(arguments).status().unwrap().success());
}

fn bind(from: &Path, to: &Path) {
    mount(&["--bind".as_ref(), from.as_ref(), to.as_ref()]);
}

/// Runs the calling test's body in mounts of its own: gives it a directory there.
fn with_mounts(name: &str, body: fn(&Path)) {
    if let Some(dir) = testing::inner() {
        body(Path::new(&dir));
    } else {
        let dir = TempDir::new().unwrap();
        testing::run_in_own_mounts(&format!("{NAME}{name}"), dir.path());
    }
}

#[test]
fn a_single_file_mount_is_rewritten_in_place_and_seen_from_the_other_side() {
    with_mounts("a_single_file_mount_is_rewritten_in_place_and_seen_from_the_other_side", |dir| {
        let (outside, inside) = (dir.join("outside"), dir.join("inside"));
        fs::create_dir(&outside).unwrap();
        fs::create_dir(&inside).unwrap();
        for (old, new) in [(OLD, NEW), (NEW, OLD)] {
            let (source, target) = (outside.join(old.len().to_string()), inside.join(old.len().to_string()));
            fs::write(&source, old).unwrap();
            fs::set_permissions(&source, fs::Permissions::from_mode(0o640)).unwrap();
            fs::write(&target, "").unwrap();
            bind(&source, &target);
            let inode = present(&source).ino;
            let staged = stage(&target, &document(new), content(old), Policy::default()).unwrap();
            let committed = staged.commit().unwrap();
            assert!(committed.in_place);
            let seen = present(&source);
            assert_eq!((seen.ino, seen.mode, seen.document), (inode, 0o640, document(new)));
            sync_directories(&[committed]).unwrap();
        }
        assert_eq!((names(&inside).len(), names(&outside).len()), (2, 2));
    });
}

#[test]
fn a_full_file_system_keeps_the_old_content_whole() {
    with_mounts("a_full_file_system_keeps_the_old_content_whole", |dir| {
        let (small, other) = (dir.join("small"), dir.join("other"));
        fs::create_dir(&small).unwrap();
        fs::create_dir(&other).unwrap();
        mount(
            &["-t", "tmpfs", "-o", "size=64k", "tmpfs"]
                .map(std::ffi::OsStr::new)
                .into_iter()
                .chain([small.as_os_str()])
                .collect::<Vec<_>>(),
        );
        let path = small.join("file");
        fs::write(&path, OLD).unwrap();
        let large = Document::new(vec![b'x'; 80 * 1024]);
        let error = stage(&path, &large, content(OLD), Policy::default()).unwrap_err();
        assert_eq!(error.kind, WriteErrorKind::NoSpace);
        assert_eq!((names(&small), fs::read_to_string(&path).unwrap()), (vec!["file".into()], OLD.into()));

        // In place: the copy has room beside the mount point, the mounted file has none.
        let target = other.join("file");
        fs::write(&target, "").unwrap();
        bind(&path, &target);
        let error = stage(&target, &large, content(OLD), Policy::default()).unwrap().commit().unwrap_err();
        assert_eq!(error.kind, WriteErrorKind::NoSpace);
        assert_eq!(fs::read_to_string(&path).unwrap(), OLD);
        assert_eq!(names(&other), ["file"]);
        // The reservation was given back.
        fs::write(small.join("rest"), vec![0; 60 * 1024]).unwrap();
    });
}

#[test]
fn a_read_only_mount_is_told_and_nothing_is_left() {
    with_mounts("a_read_only_mount_is_told_and_nothing_is_left", |dir| {
        let (source, target) = (dir.join("source"), dir.join("target"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&target).unwrap();
        fs::write(source.join("file"), OLD).unwrap();
        mount(&["-o".as_ref(), "bind,ro".as_ref(), source.as_ref(), target.as_ref()]);
        let error = stage_new(&target.join("file"), content(OLD)).unwrap_err();
        assert_eq!(error.kind, WriteErrorKind::ReadOnly);

        // Only the file is mounted read-only: staging works, the rewrite does not.
        let single = dir.join("single");
        fs::write(&single, "").unwrap();
        mount(&["-o".as_ref(), "bind,ro".as_ref(), source.join("file").as_ref(), single.as_ref()]);
        let error = stage_new(&single, content(OLD)).unwrap().commit().unwrap_err();
        assert_eq!(error.kind, WriteErrorKind::ReadOnly);
        assert_eq!(names(dir), ["single", "source", "target"]);
        assert_eq!(names(&source), ["file"]);
        assert_eq!(fs::read_to_string(&single).unwrap(), OLD);
    });
}

#[test]
fn an_in_place_rewrite_that_is_killed_half_way_is_completed_at_the_next_start() {
    const TEST: &str = "an_in_place_rewrite_that_is_killed_half_way_is_completed_at_the_next_start";
    let Some(argument) = testing::inner() else { return with_mounts(TEST, |_| ()) };
    if let Some(path) = argument.strip_prefix("write:") {
        let _ = write(Path::new(path), content(OLD));
        return;
    }
    let dir = Path::new(&argument);
    let (source, inside) = (dir.join("source"), dir.join("inside"));
    fs::create_dir(&inside).unwrap();
    let target = inside.join("file");
    fs::write(&source, OLD).unwrap();
    fs::write(&target, "").unwrap();
    bind(&source, &target);
    assert_eq!(recover(&target, &mut LeftNames::default()).unwrap(), Recovery::Nothing);

    let argument = format!("write:{}", target.display());
    let killed = || testing::run_until(&format!("{NAME}{TEST}"), Path::new(&argument), "in-place-half");
    assert_eq!(killed().signal(), Some(9));
    assert!(![OLD, NEW].contains(&fs::read_to_string(&source).unwrap().as_str()), "torn");
    let hour = std::time::Duration::from_secs(3600);
    assert!(remove_stale_temps(&inside, hour, clock::now()).unwrap().is_empty(), "the copy is kept");
    assert_eq!(recover(&target, &mut LeftNames::default()).unwrap(), Recovery::Completed);
    assert_eq!(fs::read_to_string(&source).unwrap(), NEW);
    assert_eq!(names(&inside), ["file"]);

    // Somebody wrote a sound document since: his wins.
    fs::write(&source, OLD).unwrap();
    assert_eq!(killed().signal(), Some(9));
    fs::write(&source, OLD).unwrap();
    assert_eq!(recover(&target, &mut LeftNames::default()).unwrap(), Recovery::Discarded);
    assert_eq!((fs::read_to_string(&source).unwrap().as_str(), names(&inside).len()), (OLD, 1));
}
